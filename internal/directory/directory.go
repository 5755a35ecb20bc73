// Package directory is Active Directory as this program needs it: it finds the
// one account that a request names, together with the witness of its password,
// its state and what makes it privileged, and sets or changes its password,
// unlocks it, or has it ask for another password, each with one modify. Those
// are steps 6 and 7 of the life of a request.
//
// Everything goes over verified TLS as a delegated service account. Of several
// domain controllers the PDC emulator is preferred, and one that fails is left
// alone while another works. One that cannot enforce the password history on a
// reset, whose clock is not ours, or that is read-only, is not used; referrals
// are never followed. What a domain controller answers becomes a
// code of package reset; its text is logged at debug level and goes nowhere
// else. Why it refused a password is said by package policy, from the rules
// that were read before: they explain, and never refuse anything themselves.
//
// The package never repeats a modify and does not find out what became of one
// whose answer never came: it says [reset.ErrUnanswered]. It does not know who
// may be reset; package guard does. The passwords that it hands to the LDAP
// library are copied there, and those copies are overwritten by nobody: they
// are garbage as soon as the call returns.
package directory
