package testkit

import (
	"slices"
	"testing"
)

func TestParseArchives(t *testing.T) {
	tests := []struct {
		name, targets string
		want          []string
	}{
		{"no apt lists", "||http://a.example/debian/\n", nil},
		{"Debian, its updates and its security", "Debian|Debian|http://a.example/debian/\nDebian|Debian|http://a.example/debian/\n" +
			"Debian|Debian-Security|http://a.example/debian-security/\n", []string{"http://a.example/debian/"}},
		{"third party first", "Example Inc|stable|http://b.example/apt/\nDebian|Debian|http://a.example/debian/\n", []string{"http://a.example/debian/"}},
		{"two archives", "Debian|Debian|http://a.example/debian/\nDebian|Debian|http://c.example/debian/\n",
			[]string{"http://a.example/debian/", "http://c.example/debian/"}},
		{"Ubuntu", "Ubuntu|Ubuntu|http://d.example/ubuntu/\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseArchives(tt.targets); !slices.Equal(got, tt.want) {
				t.Errorf("parseArchives = %q, want %q", got, tt.want)
			}
		})
	}
}
