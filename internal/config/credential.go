package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// credential is what a path begins with whose file the service manager hands over:
// LoadCredential= of systemd.exec(5).
const (
	credentialVariable = "CREDENTIALS_DIRECTORY"
	credential         = "${" + credentialVariable + "}/"
)

// place returns where the file is that the configuration in dir names.
func place(path, dir string) (string, error) {
	name, handedOver := strings.CutPrefix(path, credential)
	switch {
	case path == "" || filepath.IsAbs(path):
		return path, nil
	case !handedOver:
		return filepath.Join(dir, path), nil
	}
	from := os.Getenv(credentialVariable)
	if !filepath.IsAbs(from) {
		return "", errors.New(credentialVariable + " is not set: a service manager sets it; from a shell, set it to the directory of the file")
	}
	return filepath.Join(from, name), nil
}
