package samba

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// FilterPasswords has a domain whose folder is dir refuse every new password
// that has word in it, from the next start of its domain controller on. It is
// what a password filter is on Windows: a program on the domain controller
// that may refuse a password, of which the answer does not tell. Samba asks it
// where the policy demands complexity.
//
// word is for a shell's pattern: letters and digits.
func FilterPasswords(dir, word string) error {
	script := fmt.Sprintf("#!/bin/sh\nIFS= read -r password\ncase $password in *%s*) exit 1 ;; esac\nexit 0\n", word)
	if err := os.WriteFile(filepath.Join(dir, "filter"), []byte(script), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "smb.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("\tcheck password script = " + inside + "/filter\n")
	return err
}

// FilterPasswords does the same to d, and restarts it.
func (d *Domain) FilterPasswords(ctx context.Context, word string) error {
	if err := FilterPasswords(d.dir, word); err != nil {
		return err
	}
	return d.Restart(ctx)
}
