package config

import (
	"fmt"
	"io"
	"os"
)

// ReadTrusted returns what is in a file that decides something: at most 1 MiB,
// and nobody but its owner may write it, who is us or root.
func ReadTrusted(path string) ([]byte, error) {
	f, err := openTrusted(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSize {
		return nil, fmt.Errorf("%s: has more than %d bytes", path, maxSize)
	}
	return b, nil
}

// OpenSecret opens a file that holds a secret: nobody but its owner may read it, who
// is us or root. A link is not followed. On Windows see acl.
func OpenSecret(path string) (*os.File, error) { return openSecret(path) }
