// Package npm gets what tests need of npm's registry: exactly the versions whose
// hashes a package-lock.json names, once, into this machine's cache. Which
// registry that is, is the machine's own setting.
package npm

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"writeback/internal/testkit"
)

// Install returns a folder with the files of list, which are package.json,
// package-lock.json and what else is to stand beside node_modules. No script of
// a package is run. Where node or npm is missing it is installed.
func Install(ctx context.Context, name string, list fs.FS) (dir string, err error) {
	var content []string
	files, err := fs.Glob(list, "*")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := fs.ReadFile(list, f)
		if err != nil {
			return "", err
		}
		content = append(content, f, string(b))
	}
	if err := testkit.Install(ctx, "node", "nodejs"); err != nil {
		return "", err
	}
	if err := testkit.Install(ctx, "npm", "npm"); err != nil {
		return "", err
	}
	return testkit.Cached(ctx, name+"-"+testkit.CacheKey(content...), func(tmp string) error {
		if err := os.CopyFS(tmp, list); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev")
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w: %s", err, out)
		}
		_, err := os.Stat(filepath.Join(tmp, "node_modules"))
		return err
	})
}
