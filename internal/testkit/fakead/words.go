package fakead

import (
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

// The refusals, in the words of Windows: eight hexadecimal digits that are
// contract (MS-ADTS 3.1.1.1.14), then text for debugging, ended by a NUL that
// is sent. DSIDs differ between builds of Windows, these are some that were
// seen.

// Why a bind is refused (MS-ERREF 2.2), as hexadecimal digits after "data".
const (
	badPassword       = 0x52e // also for an account that does not exist
	accountRestricted = 0x52f // needs a smartcard; that Windows says this one is not confirmed
	passwordExpired   = 0x532
	accountDisabled   = 0x533
	accountExpired    = 0x701
	mustChange        = 0x773
	lockedOut         = 0x775
)

func bindRefused(data int) result {
	return ldapErr(ldap.LDAPResultInvalidCredentials, 0x80090308, "0C090439",
		"AcceptSecurityContext error", data)
}

// needsTLS refuses a password on a plain connection, as a domain controller that
// requires signing does.
func needsTLS() result {
	return ldapErr(ldap.LDAPResultStrongAuthRequired, 0x2028, "0C09023C", "The server requires binds to turn on "+
		`integrity checking if SSL\TLS are not already active on the connection`, 0)
}

// secureAlready refuses a second TLS. That the status is 0 is not confirmed.
func secureAlready() result {
	return ldapErr(ldap.LDAPResultOperationsError, 0, "0C090F78", "TLS or SSL already in effect", 0)
}

func notBound() result {
	return ldapErr(ldap.LDAPResultOperationsError, 0x4DC, "0C090A5C",
		"In order to perform this operation a successful bind must be completed on the connection.", 0)
}

func ldapErr(code int, status uint32, dsid, comment string, data int) result {
	return result{code: code, text: fmt.Sprintf("%08X: LdapErr: DSID-%s, comment: %s, data %x, v4563\x00",
		status, dsid, comment, data)}
}

// svcErr is a refusal with code 53.
func svcErr(status uint32) result {
	return result{code: ldap.LDAPResultUnwillingToPerform, text: fmt.Sprintf(
		"%08X: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n\x00", status)}
}

// atrErr refuses a change of unicodePwd.
func atrErr(status uint32) result {
	return result{code: ldap.LDAPResultConstraintViolation, text: fmt.Sprintf(
		"%08[1]X: AtrErr: DSID-03190F80, #1:\n\t0: %08[1]X: DSID-03190F80, "+
			"problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)\n\x00", status)}
}

// secErr refuses for want of a right.
func secErr(status uint32, dsid string) result {
	return result{code: ldap.LDAPResultInsufficientAccessRights, text: fmt.Sprintf(
		"%08X: SecErr: DSID-%s, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n\x00", status, dsid)}
}

func noResetRight() result { return secErr(0x5, "031A11B9") }
func noWriteRight() result { return secErr(0x2098, "0315130F") }

// Statuses of svcErr and atrErr (MS-ERREF 2.2).
const (
	accessDenied        = 0x5
	generalFailure      = 0x1F
	invalidPassword     = 0x56
	passwordRestriction = 0x52D
	changeWhileLocked   = 0x775 // seen from Samba; the wording of Windows is not known
	illegalModify       = 0x2077
	ownedBySAM          = 0x209A
	unwilling           = 0x2035
)

func invalidArgument() result {
	return result{code: ldap.LDAPResultOther,
		text: "00000057: SysErr: DSID-031A1202, problem 22 (Invalid argument), data 0\n\x00"}
}

func noSuchObject(matched string) result {
	return result{code: ldap.LDAPResultNoSuchObject, matched: matched, text: fmt.Sprintf(
		"0000208D: NameErr: DSID-0310028B, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'%s'\n\x00", matched)}
}

func badName(dn string) result {
	return result{code: ldap.LDAPResultInvalidDNSyntax, text: fmt.Sprintf(
		"0000208F: NameErr: DSID-0310023E, problem 2006 (BAD_NAME), data 8350, best match of:\n\t'%s'\n\x00", dn)}
}

func noSuchAttribute() result {
	return ldapErr(ldap.LDAPResultNoSuchAttribute, 0x57, "0C090FBF",
		"Error in attribute conversion operation", 0)
}

// notBase refuses a search that only works on one object
// (ERROR_DS_NON_BASE_SEARCH). The result code is what programs that ran into it
// report; the rest of the text is not confirmed.
func notBase() result {
	return result{code: ldap.LDAPResultOperationsError,
		text: "00002120: SvcErr: DSID-03140B2C, problem 5012 (DIR_ERROR), data 0\n\x00"}
}

// elsewhere refers to another domain controller.
func elsewhere(host, dn string) result {
	return result{code: ldap.LDAPResultReferral, referral: []string{"ldap://" + host + "/" + dn}, text: fmt.Sprintf(
		"0000202B: RefErr: DSID-0310084A, data 0, 1 access points\n\tref 1: '%s'\n\x00", host)}
}

func unknownCritical() result {
	return result{code: ldap.LDAPResultUnavailableCriticalExtension,
		text: "00002040: SvcErr: DSID-031401E7, problem 5010 (UNAVAIL_EXTENSION), data 0\n\x00"}
}

// badControl refuses a known control whose value cannot be read. The wording
// of Windows is not known.
func badControl() result {
	return ldapErr(ldap.LDAPResultUnwillingToPerform, 0x57, "0C090C3D", "Error processing control", 0)
}

func protocolError() result {
	return ldapErr(ldap.LDAPResultProtocolError, 0x57, "0C0C0095", "Error decoding ldap message", 0)
}
