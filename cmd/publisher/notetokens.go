package main

import (
	"writeback/internal/envelope"
	"writeback/internal/portal"
	"writeback/internal/publisher"
)

// noteTokens returns what tells the audit which tokens and certificates come
// into force and which no longer are. `publisher token` cannot: it works without
// a broker, and the file can be changed without it.
func noteTokens(pub *publisher.Publisher) func(made, revoked []portal.Entry) {
	note := func(e portal.Entry, f envelope.Fact) {
		if journal, ok := pub.Journal(e.Tenant); ok { // else it is good for nothing here
			journal.Note(f, &envelope.Private{Source: e.Source})
		}
	}
	return func(made, revoked []portal.Entry) {
		for _, e := range revoked {
			note(e, envelope.TokenRevoked{Token: e.ID, Certificate: e.Certificate})
		}
		for _, e := range made {
			note(e, tokenMade(e))
		}
	}
}

// tokenMade is what the audit is told of an entry.
func tokenMade(e portal.Entry) envelope.TokenMade {
	f := envelope.TokenMade{Token: e.ID, Certificate: e.Certificate, Operations: e.MayDo(), Made: e.Made, NotAfter: e.NotAfter}
	for _, k := range e.ActorKinds {
		f.Actors = append(f.Actors, k.String())
	}
	return f
}
