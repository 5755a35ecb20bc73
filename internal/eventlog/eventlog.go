// Package eventlog puts some lines of the consumer's log into the event log of
// Windows too, with the numbers that Microsoft's password writeback gives to the
// same events, so that alerts on them can stay.
//
// An event has nothing that its line does not have: no password and no account.
package eventlog

//go:generate go run ./gen ../../cmd/consumer/rsrc_windows_amd64.syso

import (
	"slices"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

// A Level is what Windows calls the type of an event (winnt.h).
type Level uint16

// Levels.
const (
	Error       Level = 1
	Warning     Level = 2
	Information Level = 4
)

// String returns the name that the event viewer shows.
func (l Level) String() string {
	return map[Level]string{Error: "Error", Warning: "Warning", Information: "Information"}[l]
}

// An Event is one kind of event. The one without a Line is for every line of the
// level error that has no other.
type Event struct {
	ID        uint32 // as Microsoft's
	Name      string // as Microsoft's
	Level     Level
	Text      string          // with %1 for the first of Fields, and so on
	Fields    []string        // of the line
	Line      string          // the line's message
	Codes     []reset.Code    // of the line; any if empty
	Operation reset.Operation // of the line; any if 0
}

const (
	settled = "request settled"
	failed  = "the service has failed"
	ofWhat  = "\nRequest: %1\nOperation: %2\nCode: %3\nDomain controller: %4\nCause: %5"
)

// Events returns every kind of event, by number. What its text says is in force
// for all that is read with it, old events too: change no meaning, add.
func Events() []Event {
	outcome := func(id uint32, name string, level Level, text string, codes ...reset.Code) Event {
		return Event{id, name, level, text + ofWhat, []string{obs.Request, obs.Operation, obs.Code, obs.DC, obs.Cause}, settled, codes, 0}
	}
	done := func(id uint32, name, text string, op reset.Operation) Event {
		return Event{id, name, Information, text + "\nRequest: %1\nDomain controller: %2", []string{obs.Request, obs.DC}, settled, []reset.Code{reset.Applied}, op}
	}
	return []Event{
		done(31002, "PasswordResetSuccess", "A password was reset: the directory confirmed it.", reset.Reset),
		done(31007, "ChangePasswordSuccess", "A password was changed: the directory confirmed it.", reset.Change),
		{31015, "WriteBackServiceStarted", Information, "The consumer has started.\nVersion: %1", []string{obs.Version}, "consumer started", nil, 0},
		{31016, "WriteBackServiceStopped", Information, "The consumer has stopped.", nil, "consumer stopped", nil, 0},
		{31044, "PasswordResetService", Error, "The service has failed; it is started again.\nCause: %1", []string{obs.Cause}, failed, nil, 0},
		{32000, "UnknownError", Error, "The consumer's log has an error.\nMessage: %1\nCause: %2", []string{message, obs.Cause}, "", nil, 0},
		{32002, "ServiceBusError", Warning, "The connection to the broker is lost; it is tried again.\nCause: %1", []string{obs.Cause}, "broker disconnected", nil, 0},
		outcome(32003, "InPutValidationError", Error, "A request was malformed.", reset.Invalid),
		outcome(32004, "DecryptionError", Error, "A request could not be read: no consumer has a key that it was sealed for.", reset.Unreadable),
		outcome(33001, "ADUnKnownError", Error, "The directory answered something unknown.", reset.DirectoryError),
		outcome(33002, "ADUserNotFoundError", Warning, "The account is not in the directory, or out of the policy's bases.", reset.AccountNotFound),
		outcome(33003, "ADMutliMatchError", Error, "More than one account matches; none was touched.", reset.AccountAmbiguous),
		outcome(33004, "ADPermissionsError", Error, "The account is protected, or the service account lacks a right on it.",
			reset.AccountProtected, reset.NotPermitted),
		outcome(33005, "ADUserAccountDisabled", Warning, "The account is disabled or has expired.", reset.AccountDisabled),
		outcome(33006, "ADUserAccountLockedOut", Warning, "The account is locked.", reset.AccountLocked),
		outcome(33007, "ADUserIncorrectPassword", Warning, "The current password was wrong.", reset.WrongPassword),
		outcome(33008, "ADPasswordPolicyError", Warning, "The directory refused the new password.",
			reset.PasswordTooShort, reset.PasswordTooSimple, reset.PasswordContainsName, reset.PasswordInHistory,
			reset.PasswordTooRecent, reset.PasswordRefused),
	}
}

// message is zerolog's field for what a line says.
const message = "message"

// find returns the kind of event that a line is, if it is one.
func find(line map[string]string) (Event, bool) {
	var other Event
	for _, e := range Events() {
		switch {
		case e.Line == "":
			other = e
		case e.Line == line[message] && e.of(line[obs.Code], line[obs.Operation]):
			return e, true
		}
	}
	return other, line["level"] == "error"
}

// of reports whether e is for that code and operation.
func (e Event) of(code, operation string) bool {
	return (len(e.Codes) == 0 || slices.Contains(e.Codes, reset.Code(code))) &&
		(e.Operation == 0 || e.Operation.String() == operation)
}
