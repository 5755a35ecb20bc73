package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Install makes sure that a program is there, from a package of Debian's.
func Install(ctx context.Context, program, pkg string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil // as mostly
	}
	unlock, err := lockApt(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := exec.LookPath(program); err == nil {
		return nil // another process has installed it meanwhile
	}
	for _, args := range [][]string{
		{"update", "-qq"},
		{"install", "-qq", "-y", "--no-install-recommends", pkg},
	} {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("installing %s: apt-get %s: %w: %s", pkg, args[0], err, out)
		}
	}
	return nil
}

// lockApt waits until no other process that we know of uses apt: whoever finds
// apt's lists locked fails at once, and whoever reads them while they are replaced
// finds nothing.
func lockApt(ctx context.Context) (unlock func(), err error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	return lock(ctx, filepath.Join(cache, "apt"))
}

// lock waits until no other process holds the lock of path.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Without blocking, so that ctx is heard.
	err = backoff.Retry(func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) },
		backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for %s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}

// Cached returns the folder called name in this machine's cache. If it is not
// there, make fills it first; a make that fails or dies leaves nothing, and
// of several processes one makes it while the others wait.
func Cached(ctx context.Context, name string, make func(tmp string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, path)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // another process has made it meanwhile
	}
	tmp := path + ".tmp"
	if err := Empty(tmp); err != nil {
		return "", err
	}
	if err := make(tmp); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	return path, os.Rename(tmp, path)
}

// Empty makes dir an empty directory, whatever it held.
func Empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// CacheDir is where this machine keeps what takes long to make.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil { // no HOME, as in some CI
		u, err := user.Current()
		if err != nil {
			return "", fmt.Errorf("looking for a cache folder: %w", err)
		}
		dir = filepath.Join(u.HomeDir, ".cache")
	}
	return filepath.Join(dir, "writeback"), nil
}

// CacheKey names a thing in the cache after what it was made from.
func CacheKey(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}
