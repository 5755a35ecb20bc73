package trail

import (
	"strings"

	"writeback/internal/reset"
)

// A Filter says which entries are wanted: those that have everything that is
// not empty. Names are compared under simple case folding.
type Filter struct {
	Account, Actor, Source string // an entry whose personal part is hidden has none of them
	Operation, Code        string
	Consumer               string // a replica
	Request                string // as the API names it
}

// Match reports whether e is wanted.
func (f Filter) Match(e Entry) bool {
	is := func(want, have string) bool { return want == "" || reset.Fold(want) == reset.Fold(have) }
	return is(f.Account, e.Account) && is(f.Actor, e.Actor) && is(f.Source, e.Source) &&
		is(f.Operation, e.Operation) && is(f.Code, e.Code) &&
		(f.Consumer == "" || e.Side == "consumer" && e.Writer == f.Consumer) &&
		(f.Request == "" || e.Request == f.Request || e.about(f.Request))
}

// about reports whether an event speaks of a request.
func (e Entry) about(request string) bool {
	id := request[strings.LastIndexByte(request, '-')+1:]
	for _, f := range e.Facts {
		if f.Name == "request" && f.Value == id {
			return true
		}
	}
	return false
}
