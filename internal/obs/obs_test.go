package obs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// fieldNames returns the constants of obs.go that are texts.
func fieldNames(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "obs.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			return true
		}
		for _, spec := range decl.Specs {
			s := spec.(*ast.ValueSpec)
			for i, value := range s.Values {
				if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					names[s.Names[i].Name], _ = strconv.Unquote(lit.Value)
				}
			}
		}
		return true
	})
	return names
}

func TestFieldNames(t *testing.T) {
	names := fieldNames(t)
	if len(names) < 15 || names["Took"] != Took || names["Request"] != Request {
		t.Fatalf("the names found are %v", names)
	}
	// These are zerolog's or the logger's own; a second one would hide it.
	seen := map[string]string{"time": "zerolog", "level": "zerolog", "message": "zerolog", "error": "zerolog", "program": "NewLogger"}
	form := regexp.MustCompile(`^[a-z][a-z_]*$`)
	for name, value := range names {
		if other, ok := seen[value]; ok {
			t.Errorf("%s and %s are both %q", name, other, value)
		}
		if !form.MatchString(value) {
			t.Errorf("%s is %q", name, value)
		}
		seen[value] = name
	}
}

func TestLoggerWritesJSONLines(t *testing.T) {
	SetUp()
	var out bytes.Buffer
	log := NewLogger(&out, "consumer")
	before := time.Now().Truncate(time.Millisecond)
	log.Info().Str(Reason, "two\nlines \u2028 \"quoted\"").AnErr(Cause, errors.New("a\nb")).Dur(Took, 1500*time.Microsecond).Msg("request\nsettled")
	log.Warn().Time("x", time.Date(2026, 11, 5, 13, 0, 0, 0, time.FixedZone("", 3600))).Msg("second")
	lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("two messages are %d lines: %s", len(lines), out.String())
	}
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		text, _ := fields["time"].(string)
		at, err := time.Parse("2006-01-02T15:04:05.000Z", text)
		if err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("the time is %q, want now in UTC with milliseconds", text)
		}
		if fields["program"] != "consumer" || fields["level"] == "" || fields["message"] == "" {
			t.Errorf("a line lacks something: %s", line)
		}
	}
	if !bytes.Contains(lines[0], []byte(`"took_ms":1.5`)) {
		t.Errorf("a duration is not in milliseconds: %s", lines[0])
	}
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]zerolog.Level{
		"": zerolog.InfoLevel, "error": zerolog.ErrorLevel, "warn": zerolog.WarnLevel, "info": zerolog.InfoLevel, "debug": zerolog.DebugLevel,
	} {
		if got, err := ParseLevel(name); got != want || err != nil {
			t.Errorf("ParseLevel(%q) = %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"trace", "disabled", "Info", "0", "fatal"} {
		if got, err := ParseLevel(name); err == nil {
			t.Errorf("ParseLevel(%q) = %s, want an error", name, got)
		}
	}
}

func TestBuildVersion(t *testing.T) {
	if BuildVersion() == "unknown" {
		t.Error("a test binary has build information")
	}
	want := fmt.Sprintf("prog %s (commit ", BuildVersion())
	if got := BuildText("prog"); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ", "+runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH+")") {
		t.Errorf("BuildText = %q", got)
	}
}

// What the linker sets comes before what the toolchain recorded.
func TestStampedVersion(t *testing.T) {
	defer func(v, c string) { version, commit = v, c }(version, commit)
	version, commit = "v9.8.7", "c0ffee"
	if got := BuildVersion(); got != "v9.8.7" {
		t.Errorf("BuildVersion = %q", got)
	}
	if got := BuildText("prog"); !strings.HasPrefix(got, "prog v9.8.7 (commit c0ffee, go") {
		t.Errorf("BuildText = %q", got)
	}
}
