// Package tenants makes tenants of a broker in operator mode, where accounts and
// users are signed documents (JWTs) that need no restart: it keeps the keys that
// sign them, and derives from nats/accounts.conf what is in them, so that there is
// one place that says who may do what.
//
// It is for an operator's machine, which is neither a publisher nor a broker.
package tenants

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats-server/v2/conf"

	"writeback/internal/queue"
	"writeback/nats"
)

// Names in accounts.conf. What begins with the tenant's name there is made once
// for each tenant, and the rest once for the broker.
const (
	modelTenant  = "corp"
	modelAccount = "CORP"

	accountSystem     = "SYS"
	accountPublishers = "PUBLISHERS"
	accountSettings   = "SETTINGS"
)

// An account is one of accounts.conf.
type account struct {
	streams            bool       // whether it has any
	role               queue.Role // of its users; all have the same
	publish, subscribe []string
	exports, imports   []share
}

// A share is a subject that one account lets another use.
type share struct {
	stream  bool   // messages that are sent; else requests that are taken
	subject string // where it comes from
	many    bool   // a request may have several answers
	account string // that an import is from
	to      string // its name where it is imported; empty is the same
}

// ofTenant reports whether an account of accounts.conf is a tenant's.
func ofTenant(name string) bool { return strings.HasPrefix(name, modelAccount) }

// model returns the accounts of accounts.conf.
func model() (map[string]account, error) {
	// The users' keys come from the environment; what matters here is the role.
	text := regexp.MustCompile(`\$WRITEBACK_[A-Z]+_NKEY`).ReplaceAllStringFunc(nats.Accounts, func(s string) string {
		return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(s, "$WRITEBACK_"), "_NKEY"))
	})
	accounts, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("nats/accounts.conf: %w", err)
	}
	// The operator's own user is in the system account, which has no other, and
	// may do nothing but what this package does with it.
	system := accounts[accountSystem]
	system.role = queue.Operator
	system.publish = []string{"$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE"}
	system.subscribe = []string{"_IN." + string(queue.Operator) + ".>"}
	accounts[accountSystem] = system
	return accounts, nil
}

// parse understands what accounts.conf uses of the broker's language, and refuses
// all else: what it passed over would be permitted, or missing.
func parse(text string) (map[string]account, error) {
	tree, err := conf.Parse(text)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	type origin struct {
		Account string `json:"account"`
		Subject string `json:"subject"`
	}
	type allow struct {
		Allow []string `json:"allow"`
	}
	var file struct {
		Accounts map[string]struct {
			JetStream any `json:"jetstream"`
			Users     []struct {
				NKey        string `json:"nkey"`
				Permissions struct {
					Publish   allow `json:"publish"`
					Subscribe allow `json:"subscribe"`
				} `json:"permissions"`
			} `json:"users"`
			Exports []struct {
				Service  string   `json:"service"`
				Stream   string   `json:"stream"`
				Response string   `json:"response_type"`
				Accounts []string `json:"accounts"` // the operator signs no other import
			} `json:"exports"`
			Imports []struct {
				Service *origin `json:"service"`
				Stream  *origin `json:"stream"`
				To      string  `json:"to"`
			} `json:"imports"`
		} `json:"accounts"`
		SystemAccount string `json:"system_account"`
	}
	dec := json.NewDecoder(strings.NewReader(string(plain)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	if file.SystemAccount != accountSystem {
		return nil, fmt.Errorf("system_account is %q, not %s", file.SystemAccount, accountSystem)
	}
	accounts := make(map[string]account)
	for name, a := range file.Accounts {
		if len(a.Users) > 1 {
			return nil, fmt.Errorf("account %s: has %d users, and a role needs an account of its own", name, len(a.Users))
		}
		out := account{streams: a.JetStream != nil}
		for _, u := range a.Users {
			out.role, out.publish, out.subscribe = queue.Role(u.NKey), u.Permissions.Publish.Allow, u.Permissions.Subscribe.Allow
		}
		for _, e := range a.Exports {
			out.exports = append(out.exports, share{stream: e.Stream != "", subject: e.Service + e.Stream, many: e.Response == "stream"})
		}
		for _, i := range a.Imports {
			from := i.Service
			if i.Stream != nil {
				from = i.Stream
			}
			if from == nil {
				return nil, fmt.Errorf("account %s: an import says neither service nor stream", name)
			}
			out.imports = append(out.imports, share{stream: i.Stream != nil, subject: from.Subject, account: from.Account, to: i.To})
		}
		accounts[name] = out
	}
	return accounts, nil
}

// rename gives a subject of the model the name of a tenant; * is that of any.
func rename(subject, tenant string) string {
	if rest, ok := strings.CutPrefix(subject, modelTenant+"."); ok {
		return tenant + "." + rest
	}
	return subject
}
