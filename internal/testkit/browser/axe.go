package browser

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// axe-core, which finds what keeps people from using a page. The integrity is what
// npm publishes for this version.
const (
	axeVersion   = "4.14.1"
	axeIntegrity = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

// axe returns the source of axe-core, from this machine's cache or, once, from the
// registry that npm is set up for.
func axe(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "writeback-browser")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "axe-core-"+axeVersion+".tgz")
	if checkAxe(file) != nil {
		if err := testkit.Install(ctx, "npm", "npm"); err != nil {
			return "", err
		}
		tmp, err := os.MkdirTemp(dir, "npm-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(tmp)
		cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "axe-core@"+axeVersion)
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("getting axe-core: npm pack: %w: %s", err, out)
		}
		packed := filepath.Join(tmp, filepath.Base(file))
		if err := checkAxe(packed); err != nil {
			return "", err
		}
		if err := os.Rename(packed, file); err != nil {
			return "", err
		}
	}
	out, err := exec.CommandContext(ctx, "tar", "-xzOf", file, "package/axe.min.js").Output()
	if err != nil {
		return "", fmt.Errorf("unpacking axe-core: %w", err)
	}
	return string(out), nil
}

// checkAxe returns an error unless the file is the package that is wanted.
func checkAxe(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sum := sha512.Sum512(data)
	if "sha512-"+base64.StdEncoding.EncodeToString(sum[:]) != axeIntegrity {
		return errors.New("axe-core: what npm brought is another package than the one that is pinned")
	}
	return nil
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
