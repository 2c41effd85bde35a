package compute

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/placement"
)

// ImageInfo is what compute needs to know of an image.
type ImageInfo struct {
	ID, Name, Status string
	Format           string // qcow2 or raw, as the image service verified it
	Size             int64  // bytes of the file
	VirtualSize      int64  // bytes of the disk inside; 0: not known
	SHA512           string
	MinDiskGiB       int64
	MinRAMMiB        int64
	Properties       map[string]string
}

// createServers does all of POST /servers in one transaction: quota, ports, scheduling, allocation, rows, binding, actions.
func (s *Service) createServers(ctx context.Context, r *api.Request, spec *createSpec) (made []*Server, err error) {
	reservation, err := s.reservationID()
	if err != nil {
		return nil, err
	}
	var seeds []string // drawn when the quota has told how many servers there will be, and once
	err = s.write(ctx, func(tx *db.Tx) error {
		made = made[:0]
		proto, place, err := s.prototype(tx, r, spec)
		if err != nil {
			return err
		}
		proto.ReservationID = reservation
		count, err := s.takeQuota(tx, proto, spec)
		if err != nil {
			return err
		}
		for i := range count {
			if i == len(seeds) {
				seed, err := s.randomSeed()
				if err != nil {
					return err
				}
				seeds = append(seeds, seed)
			}
			v := *proto
			v.LaunchIndex, v.RandomSeed = int64(i), seeds[i]
			name(&v, spec, i, count)
			if err := s.placeServer(tx, r, &v, spec, place); err != nil {
				return err
			}
			made = append(made, &v)
		}
		return nil
	})
	return made, err
}

// randomSeed is what a guest's metadata gives its random number generator to begin with.
func (s *Service) randomSeed() (string, error) {
	b := make([]byte, 512)
	_, err := io.ReadFull(s.rand, b)
	return base64.StdEncoding.EncodeToString(b), err
}

// name gives a server its name and hostname; of several each gets its number (nova's multi_instance_display_name).
func name(v *Server, spec *createSpec, i, count int) {
	v.ID = uuid.NewString()
	v.Name = spec.name
	if count > 1 {
		v.Name = fmt.Sprintf("%s-%d", spec.name, i+1)
	}
	v.Hostname = spec.hostname
	if v.Hostname == "" {
		v.Hostname = sanitizeHostname(v.Name, "Server-"+v.ID)
	}
}

var (
	notHostname = regexp.MustCompile(`[^0-9a-z.\-]+`)
	spaces      = regexp.MustCompile(`[ _.]`)
)

// sanitizeHostname is nova/utils.py's: what of a name can be a host's name.
func sanitizeHostname(name, otherwise string) string {
	h := spaces.ReplaceAllString(name, "-")
	h = notHostname.ReplaceAllString(strings.ToLower(h), "")
	if len(h) > 63 {
		h = h[:63]
	}
	h = strings.Trim(h, "-.")
	if h == "" {
		return strings.ToLower(otherwise)
	}
	return h
}

// prototype checks flavor, image, zone, key and group, and fills in what all servers of the request share.
func (s *Service) prototype(tx *db.Tx, r *api.Request, spec *createSpec) (*Server, *placing, error) {
	f, err := visibleFlavor(tx, spec.flavorID, r.ProjectID(), spec.admin)
	if err != nil {
		return nil, nil, asBadRequest(err)
	}
	img, err := s.o.FindImage(tx, r.Caller, spec.imageID)
	if fault.Is(err, 404) {
		return nil, nil, fault.BadRequest("Can not find requested image")
	}
	if err != nil {
		return nil, nil, err
	}
	hosts, err := s.hostFacts(tx)
	if err != nil {
		return nil, nil, err
	}
	if spec.az != "" && !spec.forced && !zoneExists(hosts, spec.az) {
		return nil, nil, fault.BadRequest("The requested availability zone is not available")
	}
	if spec.hostname != "" && spec.maxCount > 1 {
		return nil, nil, fault.BadRequest("Unable to allocate a single hostname to multiple instances")
	}
	if spec.maxCount > 1 {
		for _, n := range spec.networks {
			if n.PortID != "" {
				return nil, nil, fault.BadRequest("Failed to launch multiple instances with one port: it can be attached to a single server only.")
			}
			if n.FixedIP != "" {
				return nil, nil, fault.BadRequest("Failed to launch instances: fixed IP %s can be given to a single server only (max_count is %d).", n.FixedIP, spec.maxCount)
			}
		}
	}
	if err := checkImage(img, f); err != nil {
		return nil, nil, err
	}
	if f.Disk == 0 && !spec.zeroDisk {
		return nil, nil, fault.Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
	}
	if err := s.checkRequested(hosts, spec); err != nil {
		return nil, nil, err
	}
	v := &Server{
		ProjectID: r.ProjectID(), UserID: r.UserID(), Description: spec.description, ImageID: img.ID, FlavorID: f.ID,
		VCPUs: f.VCPUs, MemoryMB: f.RAM, RootGB: f.Disk, EphemeralGB: f.Ephemeral, UserData: spec.userData, ConfigDrive: spec.configDrive,
		AccessIPv4: spec.accessIPv4, AccessIPv6: spec.accessIPv6, AutoDiskConfig: spec.autoDiskConfig, RequestedAZ: spec.az,
		AvailabilityZone: spec.az, CreatedAt: tx.NowMicros(), UpdatedAt: tx.NowMicros(), Power: nodeapi.PowerRunning, Generation: 1, RequestID: r.ID,
		AdminPass: spec.adminPass, SeenPower: nodeapi.ObservedPending,
	}
	v.Image.V = serverImage{Format: img.Format, Size: img.Size, SHA512: img.SHA512, Properties: img.Properties}
	v.Flavor.V, v.Metadata.V, v.Tags.V, v.TrustedCerts.V, v.Hints.V, v.SecurityGroups.V = f, spec.metadata, spec.tags, spec.trustedCerts, spec.hints, spec.securityGroups
	if spec.keyName != "" {
		k, err := keypair(tx, r.UserID(), spec.keyName)
		if errors.Is(err, db.ErrNotFound) {
			return nil, nil, fault.BadRequest("Invalid key_name provided.")
		}
		if err != nil {
			return nil, nil, err
		}
		v.KeyName, v.KeyData.V = k.Name, keyData{k.Name, k.Type, k.PublicKey}
	}
	if id, _ := spec.hints["group"].(string); id != "" {
		g, err := groupByID(tx, id)
		if errors.Is(err, db.ErrNotFound) || err == nil && g.ProjectID != r.ProjectID() && !spec.admin {
			return nil, nil, fault.BadRequest("Instance group %s could not be found.", id)
		}
		if err != nil {
			return nil, nil, err
		}
		v.GroupID = id
		return v, &placing{hosts: hosts, group: &g, image: img}, nil
	}
	return v, &placing{hosts: hosts, image: img}, nil
}

// asBadRequest turns what was not found into the 400 that a reference in a body gets.
func asBadRequest(err error) error {
	if fault.Is(err, 404) {
		return fault.BadRequest("%s", fault.As(err).Message)
	}
	return err
}

// checkImage refuses an image that cannot be started with a flavor (nova/compute/api.py, _validate_flavor_image_nostatus).
func checkImage(img ImageInfo, f Flavor) error {
	if img.Status != "active" {
		return fault.BadRequest("Image %s is not active.", img.ID)
	}
	if img.Format != "qcow2" && img.Format != "raw" {
		return fault.BadRequest("Image %s is unacceptable: its format %s cannot be booted; convert it to qcow2 or raw.", img.ID, img.Format)
	}
	if img.MinRAMMiB > f.RAM {
		return fault.BadRequest("Flavor's memory is too small for requested image.")
	}
	if f.Disk == 0 {
		return nil
	}
	size := max(img.Size, img.VirtualSize)
	if size > f.Disk<<30 {
		return fault.BadRequest("Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", f.Disk<<30, size)
	}
	if img.MinDiskGiB > f.Disk {
		return fault.BadRequest("Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.", f.Disk<<30, img.MinDiskGiB<<30)
	}
	return nil
}

// checkRequested refuses a host that does not exist (since 2.74) before anything is made.
func (s *Service) checkRequested(hosts []hostFact, spec *createSpec) error {
	if spec.host == "" && spec.node == "" || spec.forced {
		return nil
	}
	for _, h := range hosts {
		if (spec.host == "" || spec.host == h.Host) && (spec.node == "" || spec.node == h.Host) {
			return nil
		}
	}
	if spec.host != "" {
		return fault.BadRequest("Compute host %s could not be found.", spec.host)
	}
	return fault.BadRequest("Compute host %s could not be found.", spec.node)
}

// placing is what is read once for all servers of a request.
type placing struct {
	hosts []hostFact
	group *serverGroup
	image ImageInfo
}

// placeServer makes one server: its ports, its host, its row and its action. One that has no place is stored in ERROR with the reason.
func (s *Service) placeServer(tx *db.Tx, r *api.Request, v *Server, spec *createSpec, p *placing) error {
	var err error
	if v.Num, err = tx.NextRevision(); err != nil {
		return err
	}
	v.Revision = v.Num
	if _, err := s.o.Network.PrepareServerPorts(tx, r.Caller, network.ServerPortsRequest{
		ServerID: v.ID, ServerName: v.Hostname, ProjectID: v.ProjectID, Requests: spec.networks, Auto: spec.auto, Allocate: spec.auto, None: spec.none,
		SecurityGroups: spec.securityGroups, AvailabilityZone: s.zoneName(spec.az),
	}); err != nil {
		return err
	}
	host, why, err := s.schedule(tx, v, spec, p)
	if err != nil {
		return err
	}
	if host == nil {
		v.Unplaced, v.FaultCode, v.FaultAt = true, 500, tx.NowMicros()
		v.FaultMessage, v.FaultDetails = "No valid host was found. There are not enough hosts available.", why
		if err := addServer(tx, v); err != nil {
			return err
		}
		if err := emit(tx, v, "create", r.ID); err != nil {
			return err
		}
		return addAction(tx, v, r, "create", "conductor_schedule_and_build_instances", "Error", "No valid host was found. "+why)
	}
	v.Host, v.AvailabilityZone = host.Host, host.AZ
	if err := placement.Allocate(tx, v.ID, v.ProjectID, v.UserID, map[string]map[string]int64{host.Provider: resources(v.Flavor.V)}); err != nil {
		return err
	}
	if err := addServer(tx, v); err != nil {
		return err
	}
	if err := s.o.Network.BindServerPorts(tx, v.ID, v.Host); err != nil {
		return err
	}
	if err := addAction(tx, v, r, "create", "compute__do_build_and_run_instance", "", ""); err != nil {
		return err
	}
	s.wake(tx, v)
	return emit(tx, v, "create", r.ID)
}
