package portal

import "writeback/internal/reset"

// A sentence is what is said of a code: to HTTP, to users, to operators.
type sentence struct {
	status int
	text   string
	hint   string
}

// sentenceOf is everything a user is ever told about what became of a request.
func sentenceOf(op reset.Operation, c reset.Code) sentence {
	s := sentenceOfAny(c)
	if text, hint := sentenceOfOne(op, c); text != "" {
		s.text, s.hint = text, hint
	}
	return s
}

// sentenceOfOne has the text and the hint of the codes that mean something else
// where no password is to be set: what was done, or could not be, is another.
func sentenceOfOne(op reset.Operation, c reset.Code) (text, hint string) {
	type pair struct {
		op   reset.Operation
		code reset.Code
	}
	switch (pair{op, c}) {
	case pair{reset.Unlock, reset.Applied}:
		return "The account is unlocked.",
			"Nothing to do."
	case pair{reset.Unlock, reset.AppliedPartly}:
		return "The account is unlocked, but a step that belongs to it may not have been done. Please ask your help desk.",
			"An unlock has no such step: see details.follow_ups, and compare the versions of publisher and consumer."
	case pair{reset.Unlock, reset.AccountProtected}:
		return "This account cannot be unlocked from here. Please ask your help desk.",
			"The account is privileged (adminCount, a protected group, a service, a computer). It is never touched from the cloud."
	case pair{reset.Unlock, reset.NotPermitted}:
		return "We are not allowed to unlock this account. Please ask your help desk.",
			"The service account lacks the right in details.right on this account; look for disabled inheritance."
	case pair{reset.Unlock, reset.Unconfirmed}:
		return "We do not know whether the account is unlocked. Please try to sign in, and ask your help desk if that does not work.",
			"The directory was asked and its answer is missing. It is found out where it can be, see final; else look at lockoutTime."
	case pair{reset.Probe, reset.Applied}:
		return "Everything is ready to set this account's password.",
			"Nothing was changed, and nothing is to do."
	case pair{reset.Probe, reset.AppliedPartly}:
		return "This account's password can be set, but a step that belongs to it may not have been done. Please ask your help desk.",
			"Nothing was changed. details.follow_ups lists what a reset would be refused and the right that the service account lacks for it."
	case pair{reset.Probe, reset.Unconfirmed}:
		return "We do not know whether this account's password can be set. Nothing was changed. Please try again.",
			"The consumer that had it is gone; a probe changes nothing."
	}
	return "", ""
}

// sentenceOfAny has the sentences that fit every operation, or every one that
// sets a password.
func sentenceOfAny(c reset.Code) sentence {
	switch c {
	case reset.Applied:
		return sentence{200, "The new password is set.",
			"Nothing to do."}
	case reset.AppliedPartly:
		return sentence{200, "The new password is set, but a step that belongs to it may not have been done. Please ask your help desk.",
			"details.follow_ups lists what was refused and the right that the service account lacks for it."}
	case reset.PasswordTooShort:
		return sentence{422, "This password is shorter than your organisation allows. Please choose a longer one.",
			"details.min_length is the length that the account's password policy demands."}
	case reset.PasswordTooSimple:
		return sentence{422, "This password has too few kinds of characters. Please mix capital letters, small letters, digits and symbols.",
			"The account's password policy demands complexity; details.categories lists the kinds that were present."}
	case reset.PasswordContainsName:
		return sentence{422, "Your organisation does not allow a password that contains part of the account's name. Please choose another one.",
			"Complexity forbids the account name and the parts of the display name."}
	case reset.PasswordInHistory:
		return sentence{422, "This account has had this password before. Please choose one that is new.",
			"The account's password policy remembers earlier passwords."}
	case reset.PasswordTooRecent:
		return sentence{422, "The password was set only recently and cannot be set again yet. Please try again later.",
			"The account's password policy has a minimum age; details.earliest is when it ends."}
	case reset.PasswordRefused:
		return sentence{422, "Your organisation's rules do not allow this password. Please choose another one.",
			"The directory did not say which rule; details.candidates lists those that could not be ruled out. See the event log of the domain controller for password filters."}
	case reset.WrongPassword:
		return sentence{422, "The current password does not match, so nothing was changed. Please enter it again.",
			"Each wrong attempt counts towards the account's lockout threshold."}
	case reset.AccountNotFound:
		return sentence{404, "This account was not found in your organisation's directory. Please ask your help desk.",
			"Not in the directory, or outside the bases of the policy on premises. Check that the account is synchronised and how the request names it."}
	case reset.AccountAmbiguous:
		return sentence{409, "More than one account matches, so nothing was changed. Please ask your help desk.",
			"Two accounts share the name or the anchor, or mS-DS-ConsistencyGuid contradicts objectGUID."}
	case reset.AccountDisabled:
		return sentence{403, "This account is disabled or has expired. Please ask your help desk.",
			"Enable the account in the directory, or move its end date."}
	case reset.AccountLocked:
		return sentence{423, "This account is locked at the moment. Please wait a while, or ask your help desk.",
			"A change does not unlock an account; an unlock or a reset does."}
	case reset.AccountProtected:
		return sentence{403, "The password of this account cannot be set from here. Please ask your help desk.",
			"The account is privileged (adminCount, a protected group, a service, a computer). It is never touched from the cloud."}
	case reset.NotPermitted:
		return sentence{403, "We are not allowed to set the password of this account. Please ask your help desk.",
			"The service account lacks the right in details.right on this account; look for disabled inheritance."}
	case reset.OperationOff:
		return sentence{403, "Your organisation does not allow this at the moment, so nothing was changed. Please ask your help desk.",
			"details.reason says what stopped it: switch (the tenant's), policy, rate or stopped (the policy file, its limits or the stop file on premises)."}
	case reset.InProgress:
		return sentence{409, "Another request for this account is still at work, so this one changed nothing. Please try again in a few minutes.",
			"One request at a time per account name; the other one ends within five minutes."}
	case reset.Invalid:
		return sentence{400, "This request could not be understood, so nothing was changed. Please ask your help desk.",
			"details.field is the field that the consumer refused although the publisher let it pass: compare their versions."}
	case reset.Unreadable:
		return sentence{500, "This request could not be read, so nothing was changed. Please try again.",
			"Every consumer that it was sealed for is gone. If it goes on, the publisher's and the consumers' keys do not match."}
	case reset.DirectoryError:
		return sentence{502, "Your organisation's directory did not accept the request. Please ask your help desk.",
			"details.result is the directory's result code, which is not one we know; its text is in the consumer's log."}
	case reset.Expired:
		return sentence{504, "This request was not done in time, and it changed nothing. Please try again.",
			"No consumer or no domain controller could do it before the deadline; reason superseded: somebody else set the password first."}
	case reset.Unconfirmed:
		return sentence{202, "We do not know whether the new password is set. Please try to sign in with it, and ask your help desk if that does not work.",
			"The directory was asked and its answer is missing. It is found out where it can be, see final; else look at pwdLastSet."}
	}
	return sentence{}
}

// refusalOf is the same for requests that were not taken.
func refusalOf(c reset.RefusalCode) sentence {
	switch c {
	case reset.RefusedInvalid:
		return sentence{400, "This request could not be understood, so nothing was changed.",
			"field names what is wrong with it, detail says what."}
	case reset.Unauthenticated:
		return sentence{401, "This needs a valid access token.",
			"The token or client certificate is missing, unknown or past its end: publisher token lists them."}
	case reset.Forbidden:
		return sentence{403, "The access token does not allow this.",
			"field names what the token or certificate was not made for: the operation, the kind of actor, the kind of account name, or the address that it was used from."}
	case reset.UnknownRequest:
		return sentence{404, "There is no request with this id.",
			"The id is mistyped, its time is over, or it belongs to another tenant."}
	case reset.TooLarge:
		return sentence{413, "This request is too large, so nothing was changed.",
			"A body may have 65536 bytes."}
	case reset.UnsupportedMediaType:
		return sentence{415, "This request has a form that is not understood here, so nothing was changed.",
			"Send Content-Type: application/json, uncompressed."}
	case reset.IdempotencyConflict:
		return sentence{422, "This idempotency key was used for another request, so nothing was changed by this one.",
			"Use a new key for each new request, and the same one only for repeats."}
	case reset.TooMany:
		return sentence{429, "There were too many requests, so this one changed nothing. Please try again later.",
			"field says which limit: address, token or certificate, account, current_password or events; without it more requests have not ended than a publisher keeps. Retry-After says when to try again."}
	case reset.NoConsumer:
		return sentence{503, "The connection to your organisation is down at the moment, so nothing was changed. Please try again later.",
			"No consumer was heard of for 30 seconds: is one running, can it reach the broker, and are the clocks right?"}
	case reset.BrokerUnavailable:
		return sentence{503, "This service is not available at the moment. Please try again later.",
			"The broker does not answer the publisher."}
	case reset.Clock:
		return sentence{503, "This service is not available at the moment, so nothing was changed. Please try again later.",
			"The publisher's clock and the consumers' are more than 5 seconds apart."}
	}
	return sentence{}
}

// Sentence returns the HTTP status of a code of a request for op, the one fixed
// sentence for users, and a hint for operators; 0 and nothing for what is not a
// code.
func Sentence(op reset.Operation, c reset.Code) (status int, text, hint string) {
	s := sentenceOf(op, c)
	return s.status, s.text, s.hint
}

// RefusalSentence is [Sentence] for the refusals of the API.
func RefusalSentence(c reset.RefusalCode) (status int, text, hint string) {
	s := refusalOf(c)
	return s.status, s.text, s.hint
}
