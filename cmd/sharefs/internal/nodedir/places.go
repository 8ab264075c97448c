package nodedir

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"sharefs/cmd/sharefs/internal/exit"
)

// readPlaces reads tub.port, where the node listens, and tub.location, where clients find it.
func (n *Node) readPlaces(c *config) error {
	port := c.text("node", "tub.port", "")
	if port == "" {
		text, err := os.ReadFile(n.path(portFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		port = strings.TrimSpace(string(text))
	}
	if port == "" || port == "disabled" {
		return exit.Errorf(exit.Usage, "%s: [node] tub.port is %q: this node does not listen", c.name, port)
	}
	for endpoint := range strings.SplitSeq(port, ",") {
		address, err := parseEndpoint(strings.TrimSpace(endpoint))
		if err != nil {
			c.fail("node", "tub.port", err)
			continue
		}
		n.Listen = append(n.Listen, address)
	}
	if c.err != nil {
		return c.err
	}
	location := c.text("node", "tub.location", "AUTO")
	if location == "disabled" {
		return exit.Errorf(exit.Usage, "%s: [node] tub.location is disabled: clients cannot find this node", c.name)
	}
	for hint := range strings.SplitSeq(location, ",") {
		if err := n.readHint(strings.TrimSpace(hint)); err != nil {
			c.fail("node", "tub.location", err)
		}
	}
	if c.err == nil && len(n.Locations) == 0 {
		c.fail("node", "tub.location", fmt.Errorf("%q has no place of the form tcp:HOST:PORT", location))
	}
	return c.err
}

// parseEndpoint reads a port as Twisted writes it: 3457, tcp:3457, tcp:3457:interface=127.0.0.1, tcp:port=3457, tcp6:3457.
func parseEndpoint(text string) (address string, err error) {
	parts := strings.Split(text, ":")
	host, port := "", parts[0]
	if len(parts) > 1 {
		if parts[0] != "tcp" && parts[0] != "tcp6" {
			return "", fmt.Errorf("%q is no port of the form tcp:PORT:interface=ADDRESS, which is all that this server listens on", text)
		}
		port = strings.TrimPrefix(parts[1], "port=")
		// An address of IPv6 has its colons as \: there.
		options := strings.ReplaceAll(strings.Join(parts[2:], ":"), `\:`, "\x00")
		for option := range strings.SplitSeq(options, ":") {
			if value, ok := strings.CutPrefix(option, "interface="); ok {
				host = strings.ReplaceAll(value, "\x00", ":")
			}
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port from 1 to 65535", text)
	}
	return net.JoinHostPort(host, port), nil
}

// readHint reads one place of tub.location: tcp:HOST:PORT, HOST:PORT as it was written once, AUTO for all addresses of this machine. Those
// of Tor and I2P are for Tahoe-LAFS's own node.
func (n *Node) readHint(hint string) error {
	if hint == "AUTO" {
		return n.allAddresses()
	}
	parts := strings.Split(hint, ":")
	if len(parts) == 2 {
		parts = append([]string{"tcp"}, parts...)
	}
	if parts[0] != "tcp" {
		n.Missing = append(n.Missing, "clients connect to "+hint+" ([node] tub.location)")
		return nil
	}
	if len(parts) < 3 {
		return fmt.Errorf("%q is not of the form tcp:HOST:PORT", hint)
	}
	host := strings.Trim(strings.Join(parts[1:len(parts)-1], ":"), "[]")
	port := parts[len(parts)-1]
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" {
		return fmt.Errorf("%q is not of the form tcp:HOST:PORT", hint)
	}
	n.Locations = append(n.Locations, net.JoinHostPort(host, port))
	return nil
}

// allAddresses finds what AUTO stands for.
func (n *Node) allAddresses() error {
	_, port, err := net.SplitHostPort(n.Listen[0])
	if err != nil {
		return err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			n.Locations = append(n.Locations, net.JoinHostPort(ip.IP.String(), port))
		}
	}
	return nil
}
