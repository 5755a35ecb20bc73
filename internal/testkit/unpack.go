package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Unpacked returns a folder in this machine's cache with the files of packages of
// Debian's, without those that they depend on. They are not installed: no service
// of theirs is started, no user is made, and nobody has to be root.
func Unpacked(ctx context.Context, packages ...string) (string, error) {
	return Cached(ctx, packages[0]+"-"+CacheKey(packages...), func(tmp string) error {
		if err := fetch(ctx, tmp, packages); err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", file, tmp).CombinedOutput(); err != nil {
				return fmt.Errorf("unpacking %s: %w: %s", filepath.Base(file), err, out)
			}
			if err := os.Remove(file); err != nil {
				return err
			}
		}
		return nil
	})
}

// fetch downloads packages into dir.
func fetch(ctx context.Context, dir string, packages []string) error {
	unlock, err := lockApt(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if download(ctx, dir, packages) == nil {
		return nil
	}
	// Perhaps apt's lists are empty, or older than what they name.
	if out, err := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); err != nil {
		return fmt.Errorf("updating apt's lists: %w: %s", err, out)
	}
	return download(ctx, dir, packages)
}

func download(ctx context.Context, dir string, packages []string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-qq"}, packages...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("downloading %v: %w: %s", packages, err, out)
	}
	return nil
}
