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
func (c policyHintsControl) Encode() *ber.Packet {
	p := ber.NewSequence("Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, c.oid, "OID"))
	p.AppendChild(ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "Criticality"))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "\x30\x03\x02\x01\x01", "Value"))
	return p
}
