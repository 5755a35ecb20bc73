//go:build unix && !linux

package config

import (
	"io/fs"
	"os"
)

// others returns the permissions that somebody besides the owner has.
func others(_ *os.File, perm fs.FileMode) fs.FileMode { return perm }
