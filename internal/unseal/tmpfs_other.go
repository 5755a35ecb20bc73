//go:build !linux

package unseal

import "fmt"

// noFollow is nothing: no file of a key is ever opened here.
const noFollow = 0

// CheckDir refuses: this system offers no file system that is surely in memory.
func CheckDir(dir string) error {
	return fmt.Errorf("%s: sealing keys can be kept in files on Linux only; leave runtime_dir out", dir)
}

func prepare(dir string) error { return CheckDir(dir) }
