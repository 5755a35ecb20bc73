package directory

import (
	ber "github.com/go-asn1-ber/asn1-ber"
)

// The policy-hints control (MS-ADTS 3.1.1.3.4.1.27) makes a reset obey history
// and minimum age, as a change does. The second number is the same control
// under its first name, for servers before Windows Server 2012.
const (
	policyHints    = "1.2.840.113556.1.4.2239"
	policyHintsOld = "1.2.840.113556.1.4.2066"
)

// policyHintsControl is a control of our own because those of the LDAP library
// write TRUE as 0x01. RFC 4511 section 5.1 asks for 0xFF, and Samba takes any
// other byte for FALSE: the control would be ignored without a word.
type policyHintsControl struct{ oid string }

// GetControlType returns the OID.
func (c policyHintsControl) GetControlType() string { return c.oid }

// String describes the control to the library's debug output.
func (c policyHintsControl) String() string { return "policy hints " + c.oid }

// Encode returns the control, critical, with the value
// PolicyHintsRequestValue ::= SEQUENCE { Flags INTEGER (1) }, in DER.
func (c policyHintsControl) Encode() *ber.Packet { return critical(c.oid, "\x30\x03\x02\x01\x01") }

// sdFlags is the control that says which parts of a security descriptor to
// read (MS-ADTS 3.1.1.3.4.1.11).
const sdFlags = "1.2.840.113556.1.4.801"

// descriptorParts asks for parts of a security descriptor, but of none of which
// some are for administrators: a domain controller would leave all of it out.
// The control of the LDAP library sends no value.
type descriptorParts byte

const (
	listOnly     descriptorParts = 4
	listAndOwner descriptorParts = 5
)

// GetControlType returns the OID.
func (descriptorParts) GetControlType() string { return sdFlags }

// String describes the control to the library's debug output.
func (descriptorParts) String() string { return "security descriptor " + sdFlags }

// Encode returns the control, critical, with the value SDFlagsRequestValue ::=
// SEQUENCE { Flags INTEGER }, in DER.
func (p descriptorParts) Encode() *ber.Packet {
	return critical(sdFlags, "\x30\x03\x02\x01"+string([]byte{byte(p)}))
}

// critical returns a control that must not be ignored.
func critical(oid, value string) *ber.Packet {
	p := ber.NewSequence("Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, oid, "OID"))
	p.AppendChild(ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "Criticality"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, value, "Value"))
	return p
}
