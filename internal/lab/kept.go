package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// Kept does something in a new directory, whose name begins with prefix. It is kept
// if there is an error, to look into it.
func Kept(prefix string, what func(dir string) error) error {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return err
	}
	if err := what(filepath.Join(dir, "run")); err != nil {
		return fmt.Errorf("%w; everything is kept in %s", err, dir)
	}
	return os.RemoveAll(dir)
}
