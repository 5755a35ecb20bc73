package unseal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// noFollow makes a link an error of whoever opens it.
const noFollow = unix.O_NOFOLLOW

// CheckDir refuses a directory for sealing keys that is on a disk, or that others
// may enter. It may be missing: then what matters is where it would be made.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
		return onTmpfs(dir, filepath.Dir(dir))
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: mode %04o lets others in; use 0700", dir, info.Mode().Perm())
	}
	return onTmpfs(dir, dir)
}

// onTmpfs looks at the file system of existing, or of the nearest directory
// above it that exists, on behalf of dir.
func onTmpfs(dir, existing string) error {
	var fs unix.Statfs_t
	err := unix.Statfs(existing, &fs)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(existing) != existing {
		return onTmpfs(dir, filepath.Dir(existing))
	}
	if err != nil {
		return fmt.Errorf("looking at the file system of %s: %w", existing, err)
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s: is not on a tmpfs; sealing keys are never written to a disk", dir)
	}
	return nil
}

// prepare makes dir if it is missing and checks it.
func prepare(dir string) error {
	if err := CheckDir(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return CheckDir(dir)
}
