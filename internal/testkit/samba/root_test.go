package samba

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

func TestCheckVersion(t *testing.T) {
	for out, ok := range map[string]bool{
		"Version 4.24.7-Debian-4.24.7+dfsg-1\n": true,
		"Version 4.24.0\n":                      true,
		"Version 5.0.1\n":                       true,
		"Version 4.23.11\n":                     false,
		"Version 4.9.0\n":                       false,
		"bash: samba: not found\n":              false,
	} {
		if err := checkVersion(out); (err == nil) != ok {
			t.Errorf("checkVersion(%q) = %v, want accepted: %t", out, err, ok)
		}
	}
}

func TestCached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	broken := errors.New("power cut")
	_, err := cached(t.Context(), "x", func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "half"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("cached = %v, want the error of make", err)
	}

	// Several at once, as test packages are: one makes it, all get it whole.
	made := make(chan struct{}, 4)
	paths := make(chan string, cap(made))
	for range cap(made) {
		go func() {
			path, err := cached(t.Context(), "x", func(tmp string) error {
				made <- struct{}{}
				return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			paths <- path
		}()
	}
	for range cap(made) {
		path := <-paths
		list, err := os.ReadDir(path)
		if err != nil || len(list) != 1 || list[0].Name() != "whole" {
			t.Errorf("%s holds %v (%v), want only the file whole", path, list, err)
		}
	}
	if len(made) != 1 {
		t.Errorf("made %d times, want once", len(made))
	}
}

func TestCachedHearsContext(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := cached(t.Context(), "x", func(string) error {
		cancel()
		_, err := cached(ctx, "x", func(string) error { return nil })
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cached = %v, want context.Canceled", err)
	}
}
