package fakead

import (
	"slices"
	"strings"
)

// Capabilities (MS-ADTS 3.1.1.3.4.3): Active Directory since Windows 2000, 2003,
// 2008 (2080 is 2008 R2, 2237 is 2012), and one that holds no secrets.
const partialSecrets = "1.2.840.113556.1.4.1920"

func (s *Server) capabilities() []string {
	list := []string{"1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1670", "1.2.840.113556.1.4.1791",
		"1.2.840.113556.1.4.1935", "1.2.840.113556.1.4.2080", "1.2.840.113556.1.4.2237"}
	if s.readOnly {
		list = append(list, partialSecrets)
	}
	return list
}

// rootDSE answers what may be asked before a bind (MS-ADTS 3.1.1.3.2),
// whatever the filter. tokenGroups comes only if asked for, and only if someone
// is bound.
func (c *session) rootDSE(m *message, req searchRequest) []byte {
	s := c.s
	settings := settingsDN(s.name)
	all := map[string][]string{
		"configurationNamingContext": {configDN},
		"currentTime":                {s.shared.now().UTC().Format("20060102150405.0Z")},
		"defaultNamingContext":       {baseDN},
		"dnsHostName":                {s.host()},
		"domainFunctionality":        {"7"},
		"dsServiceName":              {settings},
		"isGlobalCatalogReady":       {"TRUE"},
		"isSynchronized":             {"TRUE"},
		"namingContexts":             {baseDN, configDN},
		"rootDomainNamingContext":    {baseDN},
		"serverName":                 {strings.TrimPrefix(settings, "CN=NTDS Settings,")},
		"supportedCapabilities":      s.capabilities(),
		"supportedControl":           s.supportedControls(),
		"supportedExtension":         {startTLS},
		"supportedLDAPVersion":       {"3", "2"},
	}
	var attrs []string
	for name := range all {
		if len(req.attrs) == 0 || slices.Contains(req.attrs, "*") || req.asks(name) {
			attrs = append(attrs, name)
		}
	}
	if req.asks("tokenGroups") {
		all["tokenGroups"] = c.token
		attrs = append(attrs, "tokenGroups")
	}
	slices.Sort(attrs)
	return req.entry(m, "", attrs, func(attr string) []string { return all[attr] })
}
