package queue

import (
	"encoding/base64"
	"testing"
	"time"
)

func TestTokenEnd(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for _, tt := range []struct {
		name, token string
		want        time.Time
		fails       bool
	}{
		{"there is none", "", time.Time{}, false},
		{"without an end", token(`{"sub":"U"}`), time.Time{}, false},
		{"with an end", token(`{"sub":"U","exp":1800000000}`), time.Unix(1800000000, 0), false},
		{"that is not JSON", token(`{`), time.Time{}, true},
		{"of two parts", "e30.e30", time.Time{}, true},
		{"not in base64", "e30.*.c2ln", time.Time{}, true},
	} {
		if got, err := tokenEnd(tt.token); !got.Equal(tt.want) || (err != nil) != tt.fails {
			t.Errorf("a token %s ends at %s, %v", tt.name, got, err)
		}
	}
}
