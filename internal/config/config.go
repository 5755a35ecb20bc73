// Package config reads the one strict YAML file of a program. It knows no
// program: each declares its own struct, whose yaml tags are the keys.
//
// A key that the struct does not have is an error, so that a misspelt limit
// cannot pass for its default. Secrets are never in the file; it names the
// files they are in, which are opened here too, unless others can read them.
// Durations are strings such as "10s".
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxSize is far above any configuration.
const maxSize = 1 << 20

// Load decodes the file at path into the struct that v points to. Values of
// keys that end in _file or _dir are paths, and are taken relative to the
// file's own directory, or, where they begin with ${CREDENTIALS_DIRECTORY}/, to that
// of the credentials that a service manager hands over.
func Load(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return err
	}
	if len(b) > maxSize {
		return fmt.Errorf("%s: has more than %d bytes", path, maxSize)
	}
	if err := Parse(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := resolve(reflect.ValueOf(v).Elem(), dir); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Parse decodes one strict YAML document.
func Parse(b []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	switch err := dec.Decode(v); {
	case errors.Is(err, io.EOF):
		return errors.New("is empty")
	case err != nil:
		return clean(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("holds more than one YAML document")
	}
	return nil
}

// clean makes one line of what the decoder says, in words of the file and not
// of Go.
func clean(err error) error {
	var at *time.ParseError
	if errors.As(err, &at) {
		return fmt.Errorf("%q is not %s", at.Value, expected("time.Time"))
	}
	var t *yaml.TypeError
	if !errors.As(err, &t) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	lines := make([]string, len(t.Errors))
	for i, line := range t.Errors {
		lines[i] = line
		where, rest, ok := strings.Cut(line, ": field ")
		if name, _, unknown := strings.Cut(rest, " not found in type "); ok && unknown {
			lines[i] = fmt.Sprintf("%s: there is no key %q here", where, name)
		}
		where, rest, ok = strings.Cut(line, ": cannot unmarshal ")
		// The value, if it is a scalar, may itself have " into " in it.
		if into := strings.LastIndex(rest, " into "); ok && into >= 0 {
			lines[i] = fmt.Sprintf("%s: cannot unmarshal %s into %s", where, found(rest[:into]), expected(rest[into+len(" into "):]))
		}
	}
	return errors.New(strings.Join(lines, "; "))
}

// found names what stands in the file: a YAML tag, after a scalar's its value.
func found(s string) string {
	tag, value, _ := strings.Cut(s, " ")
	switch {
	case value != "":
		return value
	case tag == "!!seq":
		return "a list"
	}
	return "a section"
}

// expected names what a Go type takes.
func expected(goType string) string {
	switch {
	case goType == "string":
		return "a text"
	case goType == "bool":
		return "true or false"
	case goType == "time.Duration":
		return "a duration such as 10s"
	case goType == "time.Time":
		return "a time such as 2026-11-05T12:00:00Z"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number that fits"
	}
	return "a section with keys"
}

// resolve makes every path in v absolute.
func resolve(v reflect.Value, dir string) error {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field, name := v.Field(i), yamlName(v.Type().Field(i))
			isPath := strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_dir")
			if isPath && field.Kind() == reflect.String {
				path, err := place(field.String(), dir)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				field.SetString(path)
				continue
			}
			if v.Type().Field(i).IsExported() {
				if err := resolve(field, dir); err != nil {
					return err
				}
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return resolve(v.Elem(), dir)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := resolve(v.Index(i), dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}
