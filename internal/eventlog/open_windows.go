package eventlog

import "golang.org/x/sys/windows"

// Open returns a writer to the event log of this machine, under the name of a
// source that the service's installation has registered.
func Open(source string) (*Writer, error) {
	name, err := windows.UTF16PtrFromString(source)
	if err != nil {
		return nil, err
	}
	h, err := windows.RegisterEventSource(nil, name)
	if err != nil {
		return nil, err
	}
	return newWriter(func(level Level, id uint32, inserts []string) error {
		texts := make([]*uint16, len(inserts))
		for i, s := range inserts {
			var err error
			if texts[i], err = windows.UTF16PtrFromString(s); err != nil {
				return err
			}
		}
		var first **uint16
		if len(texts) > 0 {
			first = &texts[0]
		}
		return windows.ReportEvent(h, uint16(level), 0, id, 0, uint16(len(texts)), 0, first, nil)
	}), nil
}
