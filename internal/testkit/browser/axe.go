package browser

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/testkit/npm"
)

// axeFiles name axe-core, which finds what keeps people from using a page.
//
//go:embed axe
var axeFiles embed.FS

// axe returns the source of axe-core.
func axe(ctx context.Context) (string, error) {
	list, err := fs.Sub(axeFiles, "axe")
	if err != nil {
		return "", err
	}
	dir, err := npm.Install(ctx, "axe-core", list)
	if err != nil {
		return "", fmt.Errorf("getting axe-core: %w", err)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	return string(source), err
}

// An Axe looks for what keeps people from using a page.
type Axe struct{ source string }

// NewAxe gets axe-core ready.
func NewAxe(t testing.TB) Axe {
	t.Helper()
	source, err := axe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return Axe{source}
}

// Violations returns what axe-core finds wrong with the page of a tab by the rules
// of WCAG 2.2, levels A and AA, and its best practices.
func (a Axe) Violations(tab *Tab) []string {
	tab.t.Helper()
	if !Eval[bool](tab, "typeof axe !== 'undefined'") {
		Eval[int](tab, a.source+"; 0") // as the inspector does it, which a page's policy does not bind
	}
	found := Eval[string](tab, `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) =>
		[v.id, v.help, ...v.nodes.map((n) => n.html + " " + n.any.concat(n.all, n.none).map((c) => c.message).join("; "))])))`)
	var list [][]string
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		tab.t.Fatalf("reading what axe-core says: %v", err)
	}
	var all []string
	for _, v := range list {
		all = append(all, strings.Join(v, "\n\t"))
	}
	return all
}
