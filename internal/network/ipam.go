package network

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

// allocateLowest takes the lowest free address of a subnet's pools. Below the subnet's cursor every address is in use, so the search does not
// begin at the bottom each time; writing the cursor also makes allocations of one subnet wait for each other on PostgreSQL.
func (c *call) allocateLowest(s *subnet, portID string) (string, error) {
	cursor, err := db.One(c.tx, db.Value[string], `UPDATE net_subnets SET ip_cursor = ip_cursor WHERE id = $1 RETURNING ip_cursor`, s.ID)
	if errors.Is(err, db.ErrNotFound) {
		return "", subnetNotFound(s.ID)
	}
	if err != nil {
		return "", err
	}
	// The cursor means something only when the pools are walked upwards.
	pools := slices.SortedFunc(slices.Values(s.Pools), func(a, b ipRange) int { return a.Start.Compare(b.Start) })
	for _, pool := range pools {
		from := ipKey(pool.Start)
		if cursor > from {
			from = cursor
		}
		if from > ipKey(pool.End) {
			continue
		}
		a, err := c.firstFree(s, from, pool.End)
		if err != nil {
			return "", err
		}
		if !a.IsValid() {
			continue
		}
		next := a.Next()
		if !next.IsValid() {
			next = a
		}
		if _, err := c.tx.Exec(`UPDATE net_subnets SET ip_cursor = $1 WHERE id = $2`, ipKey(next), s.ID); err != nil {
			return "", err
		}
		return ipString(a), c.recordIP(s, a, portID)
	}
	return "", nil
}

// firstFree is the lowest address between from and last that has no allocation.
func (c *call) firstFree(s *subnet, from string, last netip.Addr) (netip.Addr, error) {
	const window = 64
	want, end := keyIP(from), ipKey(last)
	for {
		used, err := db.All(c.tx, db.Value[string], `SELECT ip_key FROM net_ip_allocations WHERE subnet_id = $1 AND ip_key >= $2 AND ip_key <= $3 ORDER BY ip_key LIMIT 64`, s.ID, ipKey(want), end)
		if err != nil {
			return netip.Addr{}, err
		}
		for _, u := range used {
			if u != ipKey(want) {
				return want, nil
			}
			if u == end {
				return netip.Addr{}, nil
			}
			want = want.Next()
		}
		if len(used) < window {
			return want, nil
		}
	}
}

// takeIP allocates one named address.
func (c *call) takeIP(s *subnet, a netip.Addr, portID string) error {
	if _, err := c.tx.Exec(`UPDATE net_subnets SET ip_cursor = ip_cursor WHERE id = $1`, s.ID); err != nil {
		return err
	}
	return c.recordIP(s, a, portID)
}

func (c *call) recordIP(s *subnet, a netip.Addr, portID string) error {
	n, err := c.tx.Exec(`INSERT INTO net_ip_allocations (subnet_id, ip_key, ip, network_id, port_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (subnet_id, ip_key) DO NOTHING`,
		s.ID, ipKey(a), ipString(a), s.NetworkID, portID)
	if err == nil && n == 0 {
		return ipInUse(s.ID, ipString(a))
	}
	return err
}

// releaseIPs gives a port's addresses back, all or those named.
func (c *call) releaseIPs(portID string, ips []fixedIP) error {
	for _, f := range ips {
		a, err := parseIP(f.IP)
		if err != nil {
			return err
		}
		if _, err := c.tx.Exec(`DELETE FROM net_ip_allocations WHERE subnet_id = $1 AND ip_key = $2 AND port_id = $3`, f.SubnetID, ipKey(a), portID); err != nil {
			return err
		}
		if _, err := c.tx.Exec(`UPDATE net_subnets SET ip_cursor = $1 WHERE id = $2 AND ip_cursor > $1`, ipKey(a), f.SubnetID); err != nil {
			return err
		}
	}
	return nil
}
