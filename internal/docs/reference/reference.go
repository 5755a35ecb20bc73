// Package reference makes the tables of docs/configuration.md from the structs that
// the files are decoded into: keys and types from the structs themselves, defaults
// from a value that the program starts with, meanings from the comments of the
// fields. Tests call it, each for what its package decodes.
package reference

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"writeback/internal/testkit"
)

// Update is the variable that makes [Check] write the tables; see `make docs`.
const Update = "WRITEBACK_UPDATE_DOCS"

const page = "docs/configuration.md"

// A Section is a table of the page: of a file, or of a section that several files
// have.
type Section struct {
	Heading  string // as the page has it, without the marks before it
	Defaults any    // the struct that a file is decoded into, with what holds if a key is left out
	Elements []any  // the same for structs that lists hold, by their type; without one nothing has a default
}

// sectionOf returns the heading of the sections that have a table of their own,
// because several files have them.
func sectionOf(t reflect.Type) (heading string, ok bool) {
	heading, ok = map[string]string{
		"writeback/internal/queue.Config":   "broker",
		"writeback/internal/seal.PinConfig": "pinned-keys",
	}[t.PkgPath()+"."+t.Name()]
	return heading, ok
}

// Check fails if a table of the page is not what sections say, or a field has no
// comment.
func Check(t *testing.T, sections ...Section) {
	t.Helper()
	path := filepath.Join(testkit.Root(t), page)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		w := &writer{comments: readComments(t), elements: s.Elements}
		w.rows(reflect.ValueOf(s.Defaults), "")
		for _, key := range w.bare {
			t.Errorf("%s: %s has no comment that says what it is", s.Heading, key)
		}
		fresh, err := replace(string(text), s.Heading, "| key | type | default | meaning |\n|---|---|---|---|\n"+w.text.String())
		if err != nil {
			t.Fatal(err)
		}
		if fresh != string(text) && os.Getenv(Update) == "" {
			t.Errorf("%s: the table of %s is out of date; run `make docs`", page, s.Heading)
		}
		text = []byte(fresh)
	}
	if os.Getenv(Update) != "" {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// replace puts table in the place of the first table below a heading.
func replace(text, heading, table string) (string, error) {
	start := strings.Index(text, "\n## "+heading+"\n")
	if start < 0 {
		return "", fmt.Errorf("%s: there is no heading %q", page, heading)
	}
	from := strings.Index(text[start:], "\n|")
	if next := strings.Index(text[start+1:], "\n## "); from < 0 || next >= 0 && next+1 < from {
		return "", fmt.Errorf("%s: there is no table below %q; write the line | key |", page, heading)
	}
	from += start + 1
	to := len(text)
	if end := strings.Index(text[from:], "\n\n"); end >= 0 {
		to = from + end + 1
	}
	return text[:from] + table + text[to:], nil
}

// A writer makes the rows of one table.
type writer struct {
	comments func(reflect.Type) map[string]string
	elements []any
	text     strings.Builder
	bare     []string // keys of fields without a comment
}

// rows writes a row for each key of the struct v, whose own key is prefix.
func (w *writer) rows(v reflect.Value, prefix string) {
	comments := w.comments(v.Type())
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			w.rows(v.Field(i), prefix)
			continue
		case name == "-" || name == "":
			continue
		}
		key := prefix + name
		meaning := comments[f.Name]
		if meaning == "" {
			w.bare = append(w.bare, key)
		}
		inner, many := f.Type, f.Type.Kind() == reflect.Slice
		if many || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[time.Time]() {
			w.row(key, kindOf(name, f.Type), value(v.Field(i)), meaning)
			continue
		}
		kind := "section"
		if many {
			kind = "list of sections"
		}
		if heading, ok := sectionOf(inner); ok {
			w.row(key, kind, "", meaning+"; its keys are in ["+strings.ReplaceAll(heading, "-", " ")+"](#"+heading+")")
			continue
		}
		w.row(key, kind, "", meaning)
		if many {
			key += "[]"
		}
		w.rows(w.inside(v.Field(i), inner), key+".")
	}
}

// inside returns the struct that a field holds, or that elements of its list
// begin as.
func (w *writer) inside(field reflect.Value, t reflect.Type) reflect.Value {
	if field.Type() == t {
		return field
	}
	for _, e := range w.elements {
		if v := reflect.ValueOf(e); v.Type() == t {
			return v
		}
	}
	return reflect.Zero(t)
}

func (w *writer) row(key, kind, value, meaning string) {
	if value != "" {
		value = "`" + value + "`"
	}
	fmt.Fprintf(&w.text, "| `%s` | %s | %s | %s |\n", key, kind, value, strings.ReplaceAll(meaning, "|", `\|`))
}

// kindOf says in words what a key takes.
func kindOf(name string, t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_dir"):
		return "path"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + kindOf("", t.Elem()) + "s"
	}
	return "whole number"
}

// zeros are what time.Duration writes behind a round number.
var zeros = regexp.MustCompile(`([hm])0[ms](0s)?$`)

// value writes a default as a file would; "" if there is none.
func value(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Bool:
		return fmt.Sprint(v.Bool())
	case v.IsZero():
		return ""
	case v.Kind() == reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, value(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return zeros.ReplaceAllString(fmt.Sprint(v.Interface()), "$1")
}
