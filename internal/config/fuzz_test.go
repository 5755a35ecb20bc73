package config

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Whatever a file says, it is read as it would be read again, or refused in words
// of the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte("name: corp\ncount: 3\non: true\nwait: 1m30s\nuntil: 2026-11-05T12:00:00Z\n"))
	f.Add([]byte("broker: &b {url: \"nats://localhost\", ca_file: ca.pem}\nspare: *b\nspares: [*b, ~]\n"))
	f.Add([]byte("nmae: corp\nwait: soon\nuntil: now\ncount: [1]\n"))
	f.Add([]byte("&a spares: [*a]"))
	f.Add([]byte("a: &a [x]\nb: &b [*a, *a]\nfiles: [*b, *b]\n"))
	f.Add([]byte("name: one\n---\nname: two\n"))
	f.Add([]byte("<<: {name: corp}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v settings
		if err := Parse(data, &v); err != nil {
			if s := err.Error(); s == "" || strings.Contains(s, "config.") {
				t.Errorf("the error is %q", s)
			}
			return
		}
		again, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var w settings
		if err := Parse(again, &w); err != nil || !reflect.DeepEqual(normal(v), normal(w)) {
			t.Errorf("read as %+v, and then as %+v: %v", v, w, err)
		}
	})
}

// normal makes one of what YAML writes alike: no list and an empty one.
func normal(v settings) settings {
	if len(v.Brokers) == 0 {
		v.Brokers = nil
	}
	if len(v.Spares) == 0 {
		v.Spares = nil
	}
	if len(v.Files) == 0 {
		v.Files = nil
	}
	v.Until = v.Until.UTC()
	return v
}
