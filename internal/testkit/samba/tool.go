package samba

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"writeback/internal/testkit"
)

// Tool runs a command line of samba-tool, as a shell understands it, on a Samba
// domain as its administrator, over the network as an operator would. It
// returns what the command wrote.
func Tool(ctx context.Context, dir testkit.Directory, command string) (string, error) {
	root, err := rootFS(ctx, io.Discard)
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp("", "writeback-samba-tool-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	ca, err := os.ReadFile(dir.CAFile)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, "ca.pem"), ca, 0o600); err != nil {
		return "", err
	}
	// Through a shell, so that the quoting of the command is tried too. The
	// domain has no Kerberos and no NTLM.
	const login = ` --configfile=/dev/null --option="tls cafile=` + inside + `/ca.pem" --option="tls verify peer=ca_and_name_if_available" ` +
		`-H "$1" --simple-bind-dn="$2" --password="$3"`
	out, err := run(ctx, within(root, tmp, "sh", "-c", command+login, "sh", dir.URL, dir.AdminDN, dir.AdminPassword)...)
	if err != nil {
		return "", fmt.Errorf("running %s: %w", command, err)
	}
	return out, nil
}
