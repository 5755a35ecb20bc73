package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"writeback/internal/testkit"
)

// packages are what a domain controller and samba-tool need, without what
// Debian recommends besides (326 MB instead of 600).
const packages = "samba-ad-dc,samba-ad-provision,winbind"

// suite has the Samba that is wanted in its backports.
const suite = "trixie"

// rootFS returns the root file system that Samba runs in, and makes it when
// this machine has none yet.
func rootFS(ctx context.Context, log io.Writer) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("a Samba domain needs root: it mounts, binds port 636 and changes user ids")
	}
	return testkit.Cached(ctx, "root-"+testkit.CacheKey(suite, packages, isolate), func(tmp string) error {
		if _, err := exec.LookPath("apt-get"); err != nil {
			return errors.New("no apt-get on this machine: the Samba domain is made from Debian packages, so it needs Debian; elsewhere use compose.yaml")
		}
		defer slow(log, "making the root file system of Samba, about a minute, once")()
		list, err := testkit.Archives(ctx)
		if err != nil {
			return err
		}
		if err := testkit.Install(ctx, "mmdebstrap", "mmdebstrap"); err != nil {
			return err
		}
		var failed error
		for _, archive := range list {
			err := debootstrap(ctx, tmp, archive)
			if err == nil {
				return nil
			}
			failed = errors.Join(failed, fmt.Errorf("making a root file system from %s: %w", archive, err))
		}
		return failed
	})
}

// debootstrap makes a root file system in dir and checks the Samba in it.
func debootstrap(ctx context.Context, dir, archive string) error {
	if err := testkit.Empty(dir); err != nil {
		return err
	}
	// mmdebstrap wants a /proc that shows its own processes.
	_, err := run(ctx, "sh", "-c", `mount -t proc proc /proc && "$@"; exit`, "sh",
		"mmdebstrap", "--variant=minbase",
		"--aptopt=APT::Install-Recommends \"false\"",
		"--aptopt=APT::Default-Release \""+suite+"-backports\"",
		"--include="+packages, suite, dir,
		"deb "+archive+" "+suite+" main",
		"deb "+archive+" "+suite+"-backports main")
	if err != nil {
		return err
	}
	for _, d := range []string{"var/log/samba", "var/lib/samba", "var/cache/samba"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	out, err := run(ctx, "chroot", dir, "samba", "--version")
	if err != nil {
		return err
	}
	return checkVersion(out)
}

// checkVersion refuses a Samba older than 4.24, the first that knows the
// policy-hints control (MS-ADTS 3.1.1.3.4.1.27).
func checkVersion(out string) error {
	var major, minor int
	if _, err := fmt.Sscanf(out, "Version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("reading the version of Samba from %q: %w", out, err)
	}
	if major < 4 || major == 4 && minor < 24 {
		return fmt.Errorf("this is Samba %d.%d, which does not know the policy-hints control: 4.24 or newer is needed", major, minor)
	}
	return nil
}
