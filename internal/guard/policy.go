package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"writeback/internal/reset"
)

// firstOwnRID is the first relative identifier that a domain gives to what is
// made in it; what is below came with it.
const firstOwnRID = 1000

// Primary groups of people: Domain Users and Domain Guests (MS-DTYP 2.4.2.4).
const (
	domainUsers  = 513
	domainGuests = 514
)

// A Policy is one version of the policy file. It does not change. The zero
// Policy permits nothing.
type Policy struct {
	bases      []name
	allow      []name // empty: every group will do
	deny       []name
	operations []reset.Operation
	actors     []reset.ActorKind
	names      []reset.NameKind
	denySPN    bool
	primary    []uint32
	limits     limits
	stopFile   string
}

// A name is a distinguished name as the file says it, and as it is compared.
type name struct {
	text string
	dn   dn
}

// Bases returns the bases as the file says them.
func (p *Policy) Bases() []string { return texts(p.bases) }

// Groups returns the groups that the file names, allowed and denied: one that
// the directory does not have is a fence that does not stand.
func (p *Policy) Groups() []string { return append(texts(p.allow), texts(p.deny)...) }

func texts(names []name) []string {
	var s []string
	for _, n := range names {
		s = append(s, n.text)
	}
	return s
}

// permits reports whether the account with this distinguished name is in or
// below one of the bases. Names are compared component by component, without
// regard to case; one that is malformed is never permitted.
func (p *Policy) permits(account string) bool {
	d, err := parseDN(account)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(p.bases, func(base name) bool { return d.within(base.dn) })
}

// reaches refuses accounts that are not the cloud's concern at all.
func (p *Policy) reaches(entry reset.Entry) error {
	if !p.permits(entry.DN) {
		return refusal(reset.AccountNotFound, "", "the account is outside the bases of the policy file")
	}
	if len(p.allow) == 0 {
		return nil
	}
	for _, group := range entry.Groups {
		// A group whose name is not understood allows nothing.
		if d, err := parseDN(group); err == nil && find(p.allow, d) != "" {
			return nil
		}
	}
	return refusal(reset.AccountNotFound, "", "the account is in none of the policy file's allow_groups")
}

// spares refuses accounts that nobody may touch by way of the cloud, and says
// all that makes them so. No policy can switch this off, but for deny_spn.
func (p *Policy) spares(entry reset.Entry) error {
	is := entry.Privileges
	var why []string
	for _, rule := range []struct {
		applies bool
		text    string
	}{
		{is.Ourselves, "it is this program's own service account"},
		{is.AdminCount, "adminCount is 1: it is or was in a group that administers"},
		{is.Group, "it is in a group that administers the domain"},
		{is.Critical, "isCriticalSystemObject is true"},
		{is.RID < firstOwnRID, fmt.Sprintf("it is built in: its RID %d is below %d", is.RID, firstOwnRID)},
		{!slices.Contains(p.primary, is.PrimaryGroup), fmt.Sprintf("its primary group has the RID %d, which is not in primary_groups", is.PrimaryGroup)},
		{is.NotAUser, "it is a computer, a trust or a managed service account"},
		{is.ServicePrincipal && p.denySPN, "it has a servicePrincipalName: a service runs as it"},
	} {
		if rule.applies {
			why = append(why, rule.text)
		}
	}
	if len(p.deny) > 0 {
		for _, group := range entry.Groups {
			switch d, err := parseDN(group); {
			case err != nil:
				why = append(why, fmt.Sprintf("it is in a group whose name cannot be compared with deny_groups: %v", err))
			case find(p.deny, d) != "":
				why = append(why, fmt.Sprintf("it is in %q of deny_groups", find(p.deny, d)))
			}
		}
	}
	if len(why) == 0 {
		return nil
	}
	return refusal(reset.AccountProtected, "", strings.Join(why, "; "))
}

// find returns the text of the name that is d; "" if none is.
func find(names []name, d dn) string {
	for _, n := range names {
		if slices.Equal(n.dn, d) {
			return n.text
		}
	}
	return ""
}

// offered refuses what is off for every account.
func (p *Policy) offered(ask Ask) error {
	switch {
	case !slices.Contains(p.operations, ask.Operation):
		return refusal(reset.OperationOff, "policy", fmt.Sprintf("%s is not in the policy file's operations", ask.Operation))
	case !slices.Contains(p.actors, ask.Actor):
		return refusal(reset.OperationOff, "policy", fmt.Sprintf("%s is not in the policy file's actors", ask.Actor))
	case !slices.Contains(p.names, ask.Name):
		return refusal(reset.OperationOff, "policy", fmt.Sprintf("%s is not in the policy file's names", ask.Name))
	}
	return nil
}

// stopped refuses everything while anything is at the stop file's path, be it
// a link that leads nowhere, and while it cannot be said whether there is.
func (p *Policy) stopped() error {
	if p.stopFile == "" {
		return nil
	}
	_, err := os.Lstat(p.stopFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &reset.Error{Code: reset.OperationOff, Details: reset.Details{Reason: "stopped"}, Err: fmt.Errorf("looking for the stop file: %w", err)}
	}
	return refusal(reset.OperationOff, "stopped", fmt.Sprintf("the stop file %s is there", p.stopFile))
}

func refusal(code reset.Code, reason, why string) error {
	return &reset.Error{Code: code, Details: reset.Details{Reason: reason}, Err: errors.New(why)}
}
