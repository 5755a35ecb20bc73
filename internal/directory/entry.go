package directory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/reset"
)

// Values of sAMAccountType (MS-SAMR 2.2.1.9).
const (
	normalUser     = 0x30000000
	machineAccount = 0x30000001 // computers, and managed service accounts
	trustAccount   = 0x30000002
)

// Bits of userAccountControl and its computed form (MS-ADTS 2.2.16).
const (
	flagDisabled    = 0x2
	flagSmartcard   = 0x40000
	flagLockout     = 0x10
	flagNotRequired = 0x20
	flagNormal      = 0x200
	flagsNotAUser   = 0x800 | 0x1000 | 0x2000 // trusts between domains, computers, domain controllers
)

// notUsers are classes below user whose objects are no people.
var notUsers = []string{"computer", "msDS-ManagedServiceAccount",
	"msDS-GroupManagedServiceAccount", "msDS-DelegatedManagedServiceAccount"}

// entryAttributes is what one search reads of an account, its names among them.
var entryAttributes = []string{
	"objectGUID", "mS-DS-ConsistencyGuid", "userPrincipalName", "sAMAccountName", "objectSid",
	"uSNChanged", "pwdLastSet",
	"userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires",
	"adminCount", "isCriticalSystemObject", "primaryGroupID",
	"sAMAccountType", "objectClass", "servicePrincipalName",
	"displayName", "msDS-ResultantPSO",
	"badPwdCount", "badPasswordTime",
}

// facts are what a session knows of an account beside its entry.
type facts struct {
	guid    [16]byte
	sid     []byte
	account policy.Account
	pso     string // DN of the fine-grained policy that applies; empty if none does
	rules   policy.Rules
	wrong   attempts
}

// entry reads what is needed of e. In an error only DN is set.
//
// An attribute that the service account may not read looks like one that is
// not there. Those that every account has must be there; these most have not:
// without adminCount an administrator is still known by his groups, and without isCriticalSystemObject a built-in account is by its RID. Without
// servicePrincipalName a service's account passes unless deny_groups has it.
// The others open nothing: without accountExpires a password is set that does
// not sign in, without displayName or msDS-ResultantPSO a refusal is explained
// by less, or by the domain's rules.
func (c *conn) entry(e *ldap.Entry, now time.Time) (reset.Entry, facts, error) {
	r := reader{e: e}
	entry := reset.Entry{DN: e.DN, Witness: reset.Witness{DC: c.dc}}
	guid := e.GetEqualFoldRawAttributeValue("objectGUID")
	if len(guid) != len(entry.GUID) {
		r.fail(fmt.Errorf("objectGUID has %d bytes", len(guid)))
	}
	copy(entry.GUID[:], guid)
	entry.Witness.USNChanged = uint64(r.number("uSNChanged"))
	entry.Witness.PwdLastSet = r.number("pwdLastSet")

	control := r.number("userAccountControl")
	entry.Disabled = control&flagDisabled != 0
	entry.SmartcardOnly = control&flagSmartcard != 0
	entry.Locked = r.number("msDS-User-Account-Control-Computed")&flagLockout != 0
	entry.Expired = r.has("accountExpires") && expired(r.number("accountExpires"), now)

	sid := e.GetEqualFoldRawAttributeValue("objectSid")
	rid, ok := lastRID(sid)
	if !ok {
		r.fail(errors.New("objectSid is missing or malformed"))
	}
	entry.Privileges = reset.Privileges{
		AdminCount:       r.has("adminCount") && r.number("adminCount") != 0,
		Critical:         strings.EqualFold(r.text("isCriticalSystemObject"), "TRUE"),
		RID:              rid,
		PrimaryGroup:     uint32(r.number("primaryGroupID")),
		NotAUser:         r.number("sAMAccountType") != normalUser || control&flagNormal == 0 || control&flagsNotAUser != 0,
		ServicePrincipal: r.has("servicePrincipalName"),
		// Of a user the token has only its own SID, and those it had before.
		Ourselves: slices.ContainsFunc(slices.Concat(c.self, c.token), func(s []byte) bool { return bytes.Equal(s, sid) }),
	}
	for _, class := range e.GetEqualFoldAttributeValues("objectClass") {
		if slices.ContainsFunc(notUsers, func(n string) bool { return strings.EqualFold(n, class) }) {
			entry.Privileges.NotAUser = true
		}
	}
	var wrong attempts
	if !entry.Locked && r.has("badPwdCount") {
		wrong = r.attempts()
	}
	if r.err != nil {
		return reset.Entry{DN: e.DN}, facts{}, r.err
	}
	return entry, facts{guid: entry.GUID, wrong: wrong, sid: sid, pso: r.text("msDS-ResultantPSO"), account: policy.Account{
		SAM: r.text("sAMAccountName"), DisplayName: r.text("displayName"),
		PwdLastSet: entry.Witness.PwdLastSet, NotRequired: control&flagNotRequired != 0,
	}}, nil
}

// expired judges accountExpires, a FILETIME; 0 and the largest are never
// (MS-ADA1 2.3).
func expired(filetime int64, now time.Time) bool {
	return filetime != 0 && filetime != math.MaxInt64 && !now.Before(reset.FileTime(filetime))
}

// lastRID returns the last part of a SID (MS-DTYP 2.4.2.2).
func lastRID(sid []byte) (uint32, bool) {
	if len(sid) < 12 || len(sid) != 8+4*int(sid[1]) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(sid[len(sid)-4:]), true
}

// A reader reads the values of an entry and remembers the first that could not
// be read.
type reader struct {
	e   *ldap.Entry
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) has(attribute string) bool {
	return len(r.e.GetEqualFoldRawAttributeValue(attribute)) > 0
}

func (r *reader) text(attribute string) string { return r.e.GetEqualFoldAttributeValue(attribute) }

// number reads an integer of 32 or 64 bits.
func (r *reader) number(attribute string) int64 {
	n, err := strconv.ParseInt(r.text(attribute), 10, 64)
	if err != nil {
		r.fail(errors.New(attribute + " is missing or malformed"))
	}
	return n
}

// interval reads a length of time, which is negative and in 100 ns (MS-ADTS
// 6.1.1.4). The longest that Go has stands for all that are longer.
func (r *reader) interval(attribute string) time.Duration {
	n := r.number(attribute)
	switch {
	case n > 0:
		r.fail(errors.New(attribute + " is positive"))
		return 0
	case n < -math.MaxInt64/100:
		return math.MaxInt64
	}
	return time.Duration(-n * 100)
}
