package tenants

import (
	"context"
	"errors"
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

// tell has documents of accounts signed and gives them to all servers that run, and
// returns how many those are. One that does not has them from the others when it is back.
func (o *Operator) tell(ctx context.Context, b Broker, sign func() ([]string, error)) (servers int, err error) {
	if err := o.awaitLater(ctx); err != nil {
		return 0, err
	}
	documents, err := sign()
	if err != nil {
		return 0, err
	}
	o.state.Told = time.Now().Unix()
	if err := o.save(); err != nil {
		return 0, err
	}
	err = b.as(ctx, o.keys("", accountSystem), queue.Operator, func(c *queue.Conn) (err error) {
		servers, err = c.UpdateAccounts(ctx, documents)
		return err
	})
	if err == nil {
		b.Say(fmt.Sprintf("accounts: %d, known to servers: %d", len(documents), servers))
	}
	return servers, err
}

// awaitLater waits for a second in which nothing was signed that the broker has: of
// two documents of an account, servers that were apart keep the later one, and of
// two from the same second either.
func (o *Operator) awaitLater(ctx context.Context) error {
	told := time.Unix(o.state.Told, 0)
	wait := time.Until(told.Add(time.Second))
	if wait > time.Second {
		return fmt.Errorf("the clock of this machine is behind: the broker was told something at %s", told.UTC().Format(time.RFC3339))
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Push makes the broker know tenants as they are here, with their streams, and the
// accounts that are of none. It can be repeated; streams that were made once are made
// again only for a broker that is new.
func (o *Operator) Push(ctx context.Context, b Broker, tenants ...string) error {
	for _, name := range tenants {
		if o.state.Tenants[name] == nil {
			return unknown(name)
		}
	}
	// A single server would take an account that it has no room for, and give it no
	// streams: now if it is a new one, and otherwise after its next restart.
	settings := o.keys("", accountSettings)
	err := b.as(ctx, settings, queue.System, func(c *queue.Conn) error { return c.CheckRoom(ctx, o.storage()/int64(b.Replicas)) })
	if err != nil {
		return err
	}
	_, err = o.tell(ctx, b, func() ([]string, error) {
		var documents []string
		for _, name := range tenants {
			own, err := o.documents(name, o.tenantAccounts()...)
			if err != nil {
				return nil, err
			}
			documents = append(documents, own...)
		}
		// The publishers' account last: it imports the others.
		rest, err := o.documents("", accountSettings, accountPublishers)
		return append(documents, rest...), err
	})
	if err != nil {
		return err
	}
	err = b.as(ctx, settings, queue.System, func(c *queue.Conn) error { return c.CheckDurable(ctx, b.Replicas) })
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
		if o.state.Tenants[name].Streams {
			continue
		}
		o.state.Tenants[name].Streams = true
		if err := o.save(); err != nil {
			return err
		}
	}
	return nil
}

// storage is what all tenants may take, in bytes.
func (o *Operator) storage() (bytes int64) {
	for _, t := range o.state.Tenants {
		bytes += t.Storage
	}
	return bytes
}

// PushRole makes the broker know the account of the users with a role. Those that
// are revoked are cut off.
func (o *Operator) PushRole(ctx context.Context, b Broker, tenant string, role queue.Role) error {
	account, _, err := o.account(tenant, role)
	if err != nil {
		return err
	}
	_, err = o.tell(ctx, b, func() ([]string, error) { return o.documents(tenant, account) })
	return err
}

// Remove deletes a tenant, its streams and all that is in them. It can be repeated
// when it did not come to its end.
func (o *Operator) Remove(ctx context.Context, b Broker, name string) error {
	t := o.state.Tenants[name]
	if t == nil {
		return unknown(name)
	}
	seed, err := newSeed(nkeys.CreateAccount)
	if err != nil {
		return err
	}
	var few error
	for servers := 0; servers < b.Replicas; {
		servers, err = o.tell(ctx, b, func() ([]string, error) { return o.farewell(name, seed) })
		if err != nil {
			return errors.Join(err, few)
		}
		few = fmt.Errorf("%d of %d servers of the broker answer: one that has not heard of it would bring the accounts back", servers, b.Replicas)
	}
	remover := &keys{Key: t.Accounts[modelAccount].Key, Signer: seed}
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

// farewell returns the last documents of a tenant's accounts, and those of the
// publishers without it. Nobody is a user any more but whom the key of seed signs, who
// may delete the streams, which nobody else may. A server that misses that the
// accounts are deleted gives them back to the others, and it is these that it has.
func (o *Operator) farewell(tenant, seed string) ([]string, error) {
	t := o.state.Tenants[tenant]
	delete(o.state.Tenants, tenant)
	documents, err := o.documents("", accountPublishers)
	o.state.Tenants[tenant] = t // until it is gone
	if err != nil {
		return nil, err
	}
	for _, name := range o.tenantAccounts() {
		c, err := o.claims(tenant, name)
		if err != nil {
			return nil, err
		}
		c.SigningKeys = make(jwt.SigningKeys)
		if o.model[name].streams {
			// A server that has no room for the account shows none of its streams.
			c.Limits.DiskStorage = jwt.NoLimit
			inbox := "_IN." + string(queue.Provisioner) + ".>"
			err = addSigner(c, seed, jwt.Permission{Allow: jwt.StringList{"$JS.API.STREAM.DELETE.*"}}, jwt.Permission{Allow: jwt.StringList{inbox}})
			if err != nil {
				return nil, err
			}
		}
		text, err := o.sign(c)
		if err != nil {
			return nil, err
		}
		documents = append(documents, text)
	}
	return documents, nil
}
