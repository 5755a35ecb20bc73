package installed

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// A page is what docs/operations.md tells to type to install the package: the lines
// that nobody has typed yet.
type page struct {
	t     *testing.T
	lines []string
}

// manual reads the page. Every line of it must be typed before the test ends.
func manual(t *testing.T) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Installing the package\n")
	section, _, _ = strings.Cut(section, "\n## ")
	p := &page{t: t}
	for line := range strings.Lines(section) {
		if command, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    "); found {
			p.lines = append(p.lines, strings.ReplaceAll(command, "_amd64", "_"+runtime.GOARCH))
		}
	}
	return p
}

// next returns the next line, which must begin so.
func (p *page) next(begin string) string {
	p.t.Helper()
	if len(p.lines) == 0 || !strings.HasPrefix(p.lines[0], begin) {
		p.t.Fatalf("the page goes on with %q, want a line that begins with %q", p.lines, begin)
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	return line
}

// end makes sure that all of it was typed.
func (p *page) end() {
	p.t.Helper()
	if len(p.lines) > 0 {
		p.t.Errorf("the page tells to type %q, which this test does not", p.lines)
	}
}
