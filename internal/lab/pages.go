package lab

import (
	"context"
	"os"
	"path/filepath"
)

// ResetPage makes a ticket, as a help desk does, and returns the address of the
// page on which whoever opens it first chooses a password for the account.
func (l *Lab) ResetPage(ctx context.Context, upn string) (string, error) {
	token := filepath.Join(l.Dir, "token")
	if err := os.WriteFile(token, []byte(l.Token), 0o600); err != nil {
		return "", err
	}
	return l.call(ctx, "publisher", "ticket", "-api", l.APIURL, "-token-file", token, "-upn", upn, "-subject", upn)
}

// AdminPage returns the address of the administration page, and a token that it takes.
func (l *Lab) AdminPage(ctx context.Context) (address, token string, err error) {
	token, err = l.call(ctx, "publisher", "token", "-file", l.tokensFile(), "-tenant", Tenant, "-source", "demo-operator",
		"-operations", "switches,reset,unlock", "-actors", "admin", "-names", "upn", "-days", "1")
	return l.APIURL + "/admin", token, err
}
