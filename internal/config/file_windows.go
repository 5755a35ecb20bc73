package config

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

func openTrusted(path string) (*os.File, error) { return open(path, 0, mayChange) }

func openSecret(path string) (*os.File, error) {
	return open(path, windows.FILE_FLAG_OPEN_REPARSE_POINT, mayRead|mayChange)
}

// open opens a file that is closed to others for what is denied; see acl.
func open(path string, flags, denied uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(h), path)
	if err := owned(h, flags, denied); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// owned looks at the open file, not at its path, which may change meanwhile.
func owned(h windows.Handle, flags, denied uint32) error {
	kind, err := windows.GetFileType(h)
	if err != nil {
		return err
	}
	if kind != windows.FILE_TYPE_DISK {
		return errors.New("is not a regular file")
	}
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return err
	}
	switch {
	case flags&windows.FILE_FLAG_OPEN_REPARSE_POINT != 0 && info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0:
		return errors.New("is a link; a secret file must not be")
	case info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0:
		return errors.New("is not a regular file")
	}
	list, err := accessList(h)
	if err != nil {
		return fmt.Errorf("reading its access list: %w", err)
	}
	us, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return fmt.Errorf("finding out who we are: %w", err)
	}
	return list.closed(us.User.Sid.String(), denied)
}

func accessList(h windows.Handle) (acl, error) {
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return acl{}, err
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return acl{}, err
	}
	list := acl{owner: owner.String()}
	dacl, _, err := sd.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) || err == nil && dacl == nil {
		list.missing = true
		return list, nil
	}
	if err != nil {
		return acl{}, err
	}
	for i := range uint32(dacl.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(dacl, i, &entry); err != nil {
			return acl{}, err
		}
		e := ace{kind: entry.Header.AceType, flags: entry.Header.AceFlags, mask: uint32(entry.Mask)}
		if e.kind == accessAllowed || e.kind == accessDenied { // others have more before the SID
			e.sid = (*windows.SID)(unsafe.Pointer(&entry.SidStart)).String()
		}
		list.entries = append(list.entries, e)
	}
	return list, nil
}

// Shut gives a new file to the administrators, and takes it from all but them,
// the system and the service, whatever it inherited from its folder.
func Shut(path string) error {
	sd, err := windows.SecurityDescriptorFromString(fmt.Sprintf("O:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;%s)", serviceSID(Service)))
	if err != nil {
		return err
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, owner, nil, dacl, nil)
	if err != nil {
		return fmt.Errorf("closing %s to others, which needs an administrator: %w", path, err)
	}
	return nil
}
