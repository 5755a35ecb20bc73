package secret

import "time"

// Clobber is the setting of the Go runtime (GODEBUG, see its package runtime) that
// has the collector overwrite what it frees, instead of leaving it there until it
// is used for something else. It is read from the environment when a process
// starts.
const Clobber = "clobberfree=1"

// collectEvery is how often garbage is looked for. Left alone, a process with
// little to do never does.
const collectEvery = 10 * time.Second
