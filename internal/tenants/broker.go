package tenants

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
)

// A Broker is one that trusts the operator.
type Broker struct {
	Config   queue.Config  // how to reach it; the user is the operator's own
	Replicas int           // of the streams: 1 for one server, 3 or 5 for a cluster
	New      bool          // it has an empty store on purpose, and gets the streams of tenants anew
	Keep     time.Duration // how long records and events are kept
	Log      zerolog.Logger
	Say      func(string) // is told what was done
}

// temporary is how long a user of a command lives, which is made for it.
const temporary = 10 * time.Minute

// as calls f with a connection of a user that is made for it.
func (b Broker) as(ctx context.Context, k *keys, role queue.Role, f func(*queue.Conn) error) error {
	_, file, err := credentials(k, string(role), temporary)
	if err != nil {
		return err
	}
	cfg := b.Config
	cfg.Credentials = file
	conn, err := queue.Connect(cfg, role, b.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.AwaitConnected(ctx); err != nil {
		return err
	}
	return f(conn)
}

// tell gives signed documents of accounts to all servers that run. One that does
// not has them from the others when it is back.
func (o *Operator) tell(ctx context.Context, b Broker, documents []string) error {
	// Of two documents of an account, servers that were apart keep the one that was
	// signed later.
	now := time.Now().Unix()
	if now < o.state.Told {
		return fmt.Errorf("the clock of this machine is behind: the broker was told something at %s", time.Unix(o.state.Told, 0).UTC().Format(time.RFC3339))
	}
	o.state.Told = now
	if err := o.save(); err != nil {
		return err
	}
	return b.as(ctx, o.keys("", accountSystem), queue.Operator, func(c *queue.Conn) error {
		servers, err := c.UpdateAccounts(ctx, documents)
		if err == nil {
			b.Say(fmt.Sprintf("accounts: %d, known to servers: %d", len(documents), servers))
		}
		return err
	})
}

// Push makes the broker know tenants as they are here, with their streams, and the
// accounts that are of none. It can be repeated; streams that were made once are made
// again only for a broker that is new.
func (o *Operator) Push(ctx context.Context, b Broker, tenants ...string) error {
	var documents []string
	for _, name := range tenants {
		if o.state.Tenants[name] == nil {
			return unknown(name)
		}
		own, err := o.documents(name, o.tenantAccounts()...)
		if err != nil {
			return err
		}
		documents = append(documents, own...)
	}
	// The publishers' account last: it imports the others.
	rest, err := o.documents("", accountSettings, accountPublishers)
	if err != nil {
		return err
	}
	if err := o.tell(ctx, b, append(documents, rest...)); err != nil {
		return err
	}
	err = b.as(ctx, o.keys("", accountSettings), queue.System, func(c *queue.Conn) error { return c.CheckDurable(ctx, b.Replicas) })
	if err != nil {
		return err
	}
	for _, name := range tenants {
		err := b.as(ctx, o.keys(name, modelAccount), queue.Provisioner, func(c *queue.Conn) error {
			if o.state.Tenants[name].Streams && !b.New {
				if err := c.AllThere(ctx); err != nil {
					return err
				}
			}
			return c.Provision(ctx, b.Replicas, b.Keep, func(line string) { b.Say(name + ": " + line) })
		})
		if err != nil {
			return fmt.Errorf("tenant %s: %w", name, err)
		}
		o.state.Tenants[name].Streams = true
	}
	return o.save()
}

// PushRole makes the broker know the account of the users with a role. Those that
// are revoked are cut off.
func (o *Operator) PushRole(ctx context.Context, b Broker, tenant string, role queue.Role) error {
	account, _, err := o.account(tenant, role)
	if err != nil {
		return err
	}
	documents, err := o.documents(tenant, account)
	if err != nil {
		return err
	}
	return o.tell(ctx, b, documents)
}

// Remove deletes a tenant, its streams and all that is in them. It can be repeated
// when it did not come to its end.
func (o *Operator) Remove(ctx context.Context, b Broker, name string) error {
	t := o.state.Tenants[name]
	if t == nil {
		return unknown(name)
	}
	remover, open, err := o.remover(name)
	if err != nil {
		return err
	}
	delete(o.state.Tenants, name)
	without, err := o.documents("", accountPublishers)
	o.state.Tenants[name] = t // until it is gone
	if err != nil {
		return err
	}
	if err := o.tell(ctx, b, append(without, open)); err != nil {
		return err
	}
	if err := b.as(ctx, remover, queue.Provisioner, func(c *queue.Conn) error { return c.DeleteStreams(ctx) }); err != nil {
		return err
	}
	var accounts []string
	for _, k := range t.Accounts {
		accounts = append(accounts, k.Key)
	}
	request, err := o.deletion(accounts)
	if err != nil {
		return err
	}
	err = b.as(ctx, o.keys("", accountSystem), queue.Operator, func(c *queue.Conn) error { return c.DeleteAccounts(ctx, request) })
	if err != nil {
		return err
	}
	delete(o.state.Tenants, name)
	return o.save()
}

// remover returns keys for users of a tenant's account who may delete its streams,
// which nobody else may, and the signed document that lets them in.
func (o *Operator) remover(tenant string) (*keys, string, error) {
	c, err := o.claims(tenant, modelAccount)
	if err != nil {
		return nil, "", err
	}
	seed, err := newSeed(nkeys.CreateAccount)
	if err != nil {
		return nil, "", err
	}
	k := &keys{Key: c.Subject, Signer: seed}
	inbox := "_IN." + string(queue.Provisioner) + ".>"
	err = addSigner(c, k.Signer, jwt.Permission{Allow: jwt.StringList{"$JS.API.STREAM.DELETE.*"}}, jwt.Permission{Allow: jwt.StringList{inbox}})
	if err != nil {
		return nil, "", err
	}
	text, err := o.sign(c)
	return k, text, err
}
