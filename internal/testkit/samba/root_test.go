package samba

import "testing"

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
