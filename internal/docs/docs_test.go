// Package docs checks what the pages say about the code.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// named is a test in a page: `package.TestName` or `package.TestName/name of a
// subtest`. Elsewhere a test may stand without its package.
var named = regexp.MustCompile("`(?:([a-z]+)\\.)?(Test[A-Za-z0-9]+)(?:/([^`]+))?`")

// sources returns the text of all test files, by the name of their directory.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(testkit.Root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all[filepath.Base(filepath.Dir(path))] += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// missing says what is wrong with the tests that text names, and returns how many
// it names.
func missing(text string, sources map[string]string) (problems []string, n int) {
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		n++
		dir, name, sub := m[1], m[2], m[3]
		found := false
		for in, source := range sources {
			if dir != "" && in != dir || !strings.Contains(source, "\nfunc "+name+"(t *testing.T)") {
				continue
			}
			found = found || sub == "" || strings.Contains(source, `"`+sub+`"`)
		}
		if !found {
			problems = append(problems, m[0])
		}
	}
	return problems, n
}

func TestNamedTestsExist(t *testing.T) {
	all := sources(t)
	pages, err := filepath.Glob(filepath.Join(testkit.Root(t), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, page := range append(pages, filepath.Join(testkit.Root(t), "nats", "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		problems, n := missing(string(text), all)
		total += n
		for _, p := range problems {
			t.Errorf("%s: there is no test %s", filepath.Base(page), p)
		}
	}
	if total < 40 {
		t.Errorf("the pages name %d tests only: this test looks for the wrong form", total)
	}
}

// Every row of the tables of what cannot be done names a test and its package.
func TestEveryCannotIsShown(t *testing.T) {
	for _, heading := range []string{"### What a thief cannot do", "## What the owner of the broker can try"} {
		rows := testkit.Table(t, "docs/security.md", heading)
		for _, row := range rows[1:] {
			tests := named.FindAllStringSubmatch(row[len(row)-1], -1)
			if len(tests) == 0 || slices.ContainsFunc(tests, func(m []string) bool { return m[1] == "" }) {
				t.Errorf("%s: this row does not name a test with its package: %q", heading, row)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	source := map[string]string{"lab": "package lab\n\nfunc TestOwner(t *testing.T) {\n\tt.Run(\"alters a request\", nil)\n}\n"}
	for text, want := range map[string]int{
		"`lab.TestOwner`":                     0,
		"`TestOwner`":                         0,
		"`lab.TestOwner/alters a request`":    0,
		"`lab.TestOwner/forges a request`":    1,
		"`queue.TestOwner`":                   1,
		"`lab.TestOwn`":                       1,
		"`lab.TestOwner`, `lab.TestNobody`":   1,
		"a word, TestNobody, without a quote": 0,
	} {
		if problems, _ := missing(text, source); len(problems) != want {
			t.Errorf("%s: %d problems (%v), want %d", text, len(problems), problems, want)
		}
	}
}
