package directory

import "time"

// Pass makes everything that depends on time as if d had passed.
func (c *Client) Pass(d time.Duration) {
	c.mu.Lock()
	c.located = c.located.Add(-d)
	for _, o := range c.controllers {
		o.until, o.retry = o.until.Add(-d), o.retry.Add(-d)
	}
	for _, cn := range c.idle {
		cn.used = cn.used.Add(-d)
	}
	c.mu.Unlock()
	c.rules.pass(d)
	c.groups.pass(d)
}

func (c *cache[T]) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, r := range c.kept {
		c.kept[key] = reading[T]{r.value, r.at.Add(-d)}
	}
}
