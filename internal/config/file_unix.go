//go:build unix

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Shut takes a new file from all but its owner. Here its mode did so already.
func Shut(string) error { return nil }

func openTrusted(path string) (*os.File, error) {
	return open(path, 0, 0o022, "lets others change it; use 0644 or stricter")
}

func openSecret(path string) (*os.File, error) {
	f, err := open(path, syscall.O_NOFOLLOW, 0o077, "lets others read it; use 0600 or 0400")
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: is a link; a secret file must not be", path)
	}
	return f, err
}

// open opens a regular file of ours or of root's. Its mode must have none of the
// denied permissions; advice says so.
func open(path string, flags int, denied fs.FileMode, advice string) (*os.File, error) {
	// Without waiting, since opening a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	if err := owned(f, denied, advice); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// owned looks at the open file, not at its path, which may change meanwhile.
func owned(f *os.File, denied fs.FileMode, advice string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	case others(f, info.Mode().Perm())&denied != 0:
		return fmt.Errorf("mode %04o %s", info.Mode().Perm(), advice)
	case owner != 0 && int(owner) != os.Geteuid():
		return fmt.Errorf("belongs to user %d, neither to us nor to root", owner)
	}
	return nil
}
