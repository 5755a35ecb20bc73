package resetpage

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/ticket"
)

// A Model is what the page shows. The page for changes shows the same with the
// current password in place of a ticket; see package changepage.
type Model struct {
	view ticket.View

	Page      string    // "reset" or "change": its path, and where its own texts begin
	Current   bool      // the current password is asked for
	SignOut   string    // where to; empty if a ticket opened the page, not a session
	User      string    // who is signed in; may be empty
	Until     time.Time // when the obstacle ends, if that is known
	Anew      string    // where it begins anew; empty if it does not
	Account   string    // as its owner writes it; empty if it is not named so
	Ticket    string    // the id of the ticket, for the form
	Form      bool      // something can be asked for
	CanReset  bool
	CanUnlock bool
	Again     bool   // it is not the first attempt
	Left      int    // attempts
	Obstacle  string // key of texts; empty if nothing is in the way
	Rules     []Rule
	Known     bool              // the rules are
	Errors    map[string]string // keys of texts, by field
	Result    *Result
}

// A Rule is one of the domain's rules for passwords.
type Rule struct {
	Kind string // of texts, and for the script that ticks it off
	N    int    // the number of the rule, if it has one
}

// Status is the HTTP status of the page.
func (m *Model) Status() int {
	if m.Obstacle != "" && m.Result == nil {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// AccountParts returns what is before and after the last @ of the account's name.
func (m *Model) AccountParts() []string {
	if i := strings.LastIndexByte(m.Account, '@'); i >= 0 {
		return []string{m.Account[:i], m.Account[i+1:]}
	}
	return []string{m.Account}
}

// Live reports whether the page goes on.
func (m *Model) Live() bool { return m.Result != nil && m.Result.Live }

// newModel returns what the page shows of a ticket.
func newModel(c *pages.Call, v ticket.View, s reset.Situation) *Model {
	m := &Model{Page: "reset", view: v, Account: accountName(v), Ticket: nameOf(v.ID), Left: v.Attempts}
	m.Again = v.Attempts < ticket.MaxAttempts
	if v.Request != nil {
		m.Result = NewResult(c, *v.Request, v.Err, s)
	}
	if v.Err != nil || m.Result != nil && !m.Result.Retry {
		return m
	}
	m.CanReset, m.CanUnlock = v.Allows(reset.Reset), v.Allows(reset.Unlock)
	op := reset.Reset
	if !m.CanReset {
		op = reset.Unlock
	}
	m.Obstacle = Obstacle(s, op, "reset.off")
	m.CanUnlock = m.CanUnlock && (s.Switches == nil || s.Switches.Unlock.On)
	m.Form = m.Obstacle == ""
	m.Rules, m.Known = RulesOf(s.Rules), s.Rules.Known
	return m
}

// Obstacle returns the key of the texts that say what is in the way of op, which is
// off where a switch is; empty if nothing is known to be.
func Obstacle(s reset.Situation, op reset.Operation, off string) string {
	if s.Switches != nil {
		if _, isOff := s.Switches.Off(op); isOff {
			return off
		}
	}
	if s.Obstacle != nil {
		return "refusal." + string(s.Obstacle.Code)
	}
	return ""
}

// RulesOf returns the rules that there are.
func RulesOf(r reset.Rules) (list []Rule) {
	if !r.Known {
		return nil
	}
	if r.MinLength > 0 {
		list = append(list, Rule{"length", int(r.MinLength)})
	}
	if r.Complexity {
		list = append(list, Rule{"complexity", 0}, Rule{"name", 0})
	}
	if r.History > 0 {
		list = append(list, Rule{"history", int(r.History)})
	}
	if days := int(r.MinAge.Hours() / 24); days > 0 {
		list = append(list, Rule{"age_days", days})
	} else if hours := int(r.MinAge.Hours()); hours > 0 {
		list = append(list, Rule{"age_hours", hours})
	}
	return list
}

// accountName returns the name that the owner of the account knows.
func accountName(v ticket.View) string {
	switch v.Account.Kind {
	case reset.UPN, reset.SAMAccountName:
		return v.Account.Value
	}
	return ""
}

// A Result is what became, or becomes, of a request.
type Result struct {
	Request   string
	Operation reset.Operation
	Live      bool // the page goes on
	Final     bool
	Retry     bool   // it may be tried again, here and now
	Ended     bool   // it could be tried again, but not with this ticket
	Another   bool   // with another password
	Tone      string // good, bad or warn
	Title     string // keys of texts
	Text      string
	Next      string
	Spoken    string // what a screen reader says of the newest step
	Facts     []string
	Steps     []step
	Earliest  time.Time
}

// A step is one on the way of a request.
type step struct {
	Text  string    // key of texts
	State string    // done, now, open, failed or unknown
	Time  string    // since the first; empty if it is not known
	At    time.Time // of the first
}

// hidden are the codes of which the page only says that the help desk can tell, so
// that it tells nobody which accounts there are and what they are.
func hidden(c reset.Code) bool {
	switch c {
	case reset.AccountProtected, reset.NotPermitted, reset.AccountNotFound, reset.AccountDisabled:
		return true
	}
	return false
}

// retryable reports whether the user can do something about an outcome by trying
// again.
func retryable(c reset.Code) bool {
	switch c {
	case reset.PasswordTooShort, reset.PasswordTooSimple, reset.PasswordContainsName, reset.PasswordInHistory, reset.PasswordTooRecent,
		reset.PasswordRefused, reset.WrongPassword, reset.InProgress, reset.Unreadable, reset.Expired, reset.DirectoryError:
		return true
	}
	return false
}

// aboutPassword reports whether another password may do.
func aboutPassword(c reset.Code) bool {
	return strings.HasPrefix(string(c), "password_") && c != reset.PasswordTooRecent
}

// NewResult returns what the page says of a request, in a tenant's situation. With
// an error it is not to be tried again.
func NewResult(c *pages.Call, st reset.Status, err error, s reset.Situation) *Result {
	r := &Result{
		Request: st.Ref.String(), Operation: st.Operation, Live: st.Open(time.Now()), Final: st.State == reset.Final,
	}
	if r.Operation == 0 {
		r.Operation = reset.Reset // its record is on its way
	}
	r.Steps, r.Spoken = steps(c, st)
	if !r.Final {
		r.Title, r.Text = "reset.busy.title", "reset.busy.text"
		return r
	}
	code := st.Outcome.Code
	r.Retry, r.Ended = err == nil && retryable(code), err != nil && retryable(code)
	r.Another = aboutPassword(code)
	key := "code." + string(code)
	switch {
	case hidden(code):
		key = "code.help_desk"
	case c.Has(key + "." + r.Operation.String() + ".title"):
		key += "." + r.Operation.String()
	}
	r.Title, r.Text = key+".title", key+".text"
	if c.Has(key + ".next") {
		r.Next = key + ".next"
	}
	r.Spoken = r.Title
	switch code {
	case reset.Applied:
		r.Tone = "good"
	case reset.AppliedPartly, reset.Unconfirmed:
		r.Tone = "warn"
	default:
		r.Tone = "bad"
	}
	if !hidden(code) {
		r.facts(c, st.Outcome, s)
	}
	return r
}

// facts says the numbers of the rule that a password broke.
func (r *Result) facts(c *pages.Call, o reset.Outcome, s reset.Situation) {
	add := func(key string, args ...any) {
		if text, err := c.T(key, args...); err == nil {
			r.Facts = append(r.Facts, text)
		}
	}
	count := func(key string, n int) {
		if text, err := c.Count(key, n); err == nil && n > 0 {
			r.Facts = append(r.Facts, text)
		}
	}
	list := func(prefix string, words []string) string {
		var texts []string
		for _, w := range words {
			if text, err := c.T(prefix + w); err == nil {
				texts = append(texts, text)
			}
		}
		return strings.Join(texts, ", ")
	}
	switch d := o.Details; o.Code {
	case reset.PasswordTooShort:
		count("fact.min_length", int(d.MinLength))
	case reset.PasswordTooSimple:
		if present := list("category.", d.Categories); present != "" {
			add("fact.categories", present)
		}
	case reset.PasswordInHistory:
		if s.Rules.Known {
			count("fact.history", int(s.Rules.History))
		}
	case reset.PasswordTooRecent:
		r.Earliest = d.Earliest
	case reset.PasswordRefused:
		if rest := list("candidate.", d.Candidates); rest != "" {
			add("fact.candidates", rest)
		}
	case reset.OperationOff:
		if c.Has("reason." + d.Reason) {
			add("reason." + d.Reason)
		}
	case reset.AppliedPartly:
		for _, f := range d.FollowUps {
			if c.Has("follow_up." + f.What) {
				add("follow_up." + f.What)
			}
		}
	}
}

// steps returns the way of a request, and the newest step that was made.
func steps(c *pages.Call, st reset.Status) (list []step, newest string) {
	final, l := st.State == reset.Final, st.Timeline
	claimed := st.Consumer != ""
	last := "step.set"
	if st.Operation == reset.Unlock {
		last = "step.unlocked"
	}
	if l.Answered == 0 && final { // asked later, or elsewhere
		l.Answered = st.Finished.Sub(st.Accepted)
	}
	list = []step{
		{Text: "step.accepted", State: "done", At: st.Accepted},
		{Text: "step.on_its_way", State: "open", Time: seconds(c, l.Stored)},
		{Text: "step.picked_up", State: "open", Time: seconds(c, max(l.PickedUp, l.Stored))},
		{Text: last, State: "open", Time: seconds(c, l.Answered)},
	}
	newest = list[0].Text
	if l.Stored > 0 || claimed {
		list[1].State, newest = "done", list[1].Text
	}
	if claimed {
		list[2].State, newest = "done", list[2].Text
	}
	if final {
		switch st.Outcome.Code {
		case reset.Applied, reset.AppliedPartly:
			list[3].State = "done"
		case reset.Unconfirmed:
			list[3].State, list[3].Text = "unknown", last+".unknown"
		default:
			list[3].State, list[3].Text = "failed", last+".not"
		}
		return list, list[3].Text
	}
	now := slices.IndexFunc(list, func(s step) bool { return s.State == "open" })
	list[now].State = "now"
	for i := range list[now:] {
		if s := &list[now+i]; c.Has(s.Text + ".open") {
			s.Text += ".open" // nothing is said to be done that is not
		}
	}
	return list, newest
}
