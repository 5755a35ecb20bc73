package export

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"

	"writeback/internal/reset"
	"writeback/internal/trail"
)

// ecsVersion is the version of the Elastic Common Schema whose names are used.
const ecsVersion = "8.17.0"

// A document is an entry with the names of the Elastic Common Schema. What that
// has no name for is under writeback.
type document struct {
	Timestamp    time.Time  `json:"@timestamp"`
	ECS          versioned  `json:"ecs"`
	Event        event      `json:"event"`
	Organization named      `json:"organization"`
	Service      service    `json:"service"`
	Trace        *id        `json:"trace,omitempty"` // the request
	User         *user      `json:"user,omitempty"`  // who asked, and who was reset
	Source       *source    `json:"source,omitempty"`
	Server       *server    `json:"server,omitempty"` // the domain controller
	Writeback    additional `json:"writeback"`
}

type (
	versioned struct {
		Version string `json:"version"`
	}
	named struct {
		Name string `json:"name"`
	}
	id struct {
		ID string `json:"id"`
	}
	service struct {
		Name string `json:"name"`
		Type string `json:"type,omitempty"` // publisher or consumer
		Node *named `json:"node,omitempty"`
	}
	source struct {
		Address string `json:"address"`
		IP      string `json:"ip,omitempty"`
	}
	server struct {
		Domain string `json:"domain"`
	}
)

type event struct {
	Kind     string    `json:"kind"` // event, or alert for what nobody pinned has signed
	Category []string  `json:"category"`
	Type     []string  `json:"type"`
	Action   string    `json:"action"`
	Outcome  string    `json:"outcome,omitempty"`
	Code     string    `json:"code,omitempty"`
	Module   string    `json:"module"`
	Dataset  string    `json:"dataset"`
	Sequence uint64    `json:"sequence"`
	Created  time.Time `json:"created"` // when the broker stored it
	Reason   string    `json:"reason,omitempty"`
}

type user struct {
	Name   string   `json:"name,omitempty"`
	Roles  []string `json:"roles,omitempty"` // self or admin
	Target *target  `json:"target,omitempty"`
}

type target struct {
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"` // objectGUID
}

type additional struct {
	Position    trail.Position    `json:"position"`
	Signed      bool              `json:"signed"`
	Operation   string            `json:"operation,omitempty"`
	AccountKind string            `json:"account_kind,omitempty"`
	Caller      string            `json:"caller,omitempty"` // whose token or certificate it was
	Run         string            `json:"run,omitempty"`
	Number      uint64            `json:"number,omitempty"`
	Hidden      bool              `json:"hidden,omitempty"`
	Doubt       bool              `json:"doubt,omitempty"`
	Asked       bool              `json:"asked,omitempty"`
	Facts       map[string]string `json:"facts,omitempty"`
}

// ECS returns an entry as a line of JSON with the names of the Elastic Common
// Schema.
func ECS(tenant string, e trail.Entry, at trail.Position) ([]byte, error) {
	d := document{
		Timestamp: e.At(), ECS: versioned{ecsVersion}, Organization: named{tenant},
		Event: event{
			Kind: "event", Category: []string{"iam"}, Type: []string{"info"}, Action: action(e), Outcome: outcome(e), Code: e.Code,
			Module: "writeback", Dataset: "writeback." + map[string]string{trail.Records: "records", trail.Events: "events"}[e.Stream],
			Sequence: e.Seq, Created: e.Stored,
		},
		Service: service{Name: "writeback", Type: e.Side},
		Writeback: additional{
			Position: at, Signed: e.Signed, Operation: e.Operation, AccountKind: e.AccountKind, Caller: e.Source, Run: e.Run, Number: e.Number,
			Hidden: e.Hidden, Doubt: e.Doubt, Asked: e.Asked,
		},
	}
	if !e.Signed {
		d.Event.Kind = "alert"
	}
	if e.Stream == trail.Records {
		d.Event.Type = []string{"user", "change"}
	}
	if e.Writer != "" {
		d.Service.Node = &named{e.Writer}
	}
	if e.Request != "" {
		d.Trace = &id{e.Request}
	}
	if e.ActorKind != "" || e.Account != "" {
		d.User = &user{Name: e.Actor}
		if e.ActorKind != "" {
			d.User.Roles = []string{e.ActorKind}
		}
		if e.Account != "" || e.ObjectGUID != "" {
			d.User.Target = &target{e.Account, e.ObjectGUID}
		}
	}
	if e.Address != "" {
		d.Source = &source{Address: e.Address}
		if ip, err := netip.ParseAddr(e.Address); err == nil {
			d.Source.IP = ip.String()
		}
	}
	if e.DC != "" {
		d.Server = &server{e.DC}
	}
	for _, f := range e.Facts {
		if f.Name == "reason" {
			d.Event.Reason = f.Value
		}
		d.Writeback.add(f)
	}
	line, err := json.Marshal(d)
	return append(line, '\n'), err
}

// add adds a fact; a second one of a name gets a number.
func (a *additional) add(f trail.Fact) {
	if a.Facts == nil {
		a.Facts = make(map[string]string)
	}
	name := f.Name
	for n := 2; a.Facts[name] != ""; n++ {
		name = f.Name + "_" + strconv.Itoa(n)
	}
	a.Facts[name] = f.Value
}

// action is what was done: "reset-settled", or the name of an event.
func action(e trail.Entry) string {
	if e.Operation == "" {
		return e.Kind
	}
	return e.Operation + "-" + e.Kind
}

// outcome is success, failure or unknown of what is an outcome.
func outcome(e trail.Entry) string {
	switch reset.Code(e.Code) {
	case "":
		return ""
	case reset.Applied, reset.AppliedPartly:
		return "success"
	case reset.Unconfirmed:
		return "unknown"
	}
	return "failure"
}
