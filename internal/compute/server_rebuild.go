package compute

import (
	"context"
	"errors"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// rebuild makes the root disk anew from an image and may change name, key, metadata and user data on the way.
func (s *Service) rebuild(ctx context.Context, r *api.Request, arg any) (any, error) {
	in := arg.(map[string]any)
	password, ok := in["adminPass"].(string)
	if !ok {
		var err error
		if password, err = s.password(); err != nil {
			return nil, err
		}
	}
	var out api.JSON
	err := s.withServer(ctx, r, pServers+"rebuild", func(tx *db.Tx, v *Server) error {
		if _, ok := in["trusted_image_certificates"]; ok && r.Since("2.63") {
			if err := r.Enforce(pServers+"rebuild:trusted_certs", v.target()); err != nil {
				return err
			}
		}
		if err := s.allowed(r, v, "rebuild", []string{vmActive, vmStopped, vmError}); err != nil {
			return err
		}
		if v.Host == "" {
			return invalidState("rebuild", v.ID, "vm_state", v.VMState)
		}
		id, _ := in["imageRef"].(string)
		img, err := s.o.FindImage(tx, r.Caller, lastPart(id))
		if fault.Is(err, 404) {
			return fault.BadRequest("Cannot find image for rebuild")
		}
		if err != nil {
			return err
		}
		if err := checkImage(img, v.Flavor.V); err != nil {
			return err
		}
		if err := s.rebuilt(tx, r, v, in); err != nil {
			return err
		}
		v.ImageID = img.ID
		v.Image.V = serverImage{Format: img.Format, Size: img.Size, SHA512: img.SHA512, Properties: img.Properties}
		v.AdminPass = password
		if v.VMState == vmError {
			v.Power = nodeapi.PowerRunning
		}
		v.RebuildSeq++
		if err := s.act(tx, r, v, intentRebuild, "rebuild", "compute_rebuild_instance"); err != nil {
			return err
		}
		out, err = s.rebuildAnswer(tx, r, v, password)
		return err
	})
	return out, err
}

// rebuilt takes over what the request changes besides the image.
func (s *Service) rebuilt(tx *db.Tx, r *api.Request, v *Server, in map[string]any) error {
	limits, err := s.limits(tx, v.ProjectID, v.UserID)
	if err != nil {
		return err
	}
	if m, ok := in["metadata"].(map[string]any); ok {
		if max := limits["metadata_items"]; max >= 0 && int64(len(m)) > max {
			return fault.Forbidden("Maximum number of metadata items exceeds %d", max)
		}
		v.Metadata.V = texts(m)
	}
	if n, ok := in["name"].(string); ok {
		v.Name = strings.TrimSpace(n)
	}
	if d, ok := in["description"]; ok {
		v.Description = nil
		if t, ok := d.(string); ok {
			v.Description = &t
		}
	}
	for k, dest := range map[string]*string{"accessIPv4": &v.AccessIPv4, "accessIPv6": &v.AccessIPv6} {
		if t, ok := in[k].(string); ok {
			*dest = canonicalIP(t)
		}
	}
	if t, ok := in["hostname"].(string); ok {
		v.Hostname = t
	}
	if c, ok := in["OS-DCF:diskConfig"].(string); ok {
		v.AutoDiskConfig = c == "AUTO"
	}
	if u, ok := in["user_data"]; ok {
		v.UserData, _ = u.(string)
	}
	if c, ok := in["trusted_image_certificates"]; ok {
		v.TrustedCerts.V = nil
		for _, e := range list(c) {
			v.TrustedCerts.V = append(v.TrustedCerts.V, e.(string))
		}
	}
	key, ok := in["key_name"]
	if !ok || !r.Since("2.54") {
		return nil
	}
	name, _ := key.(string)
	v.KeyName, v.KeyData.V = "", keyData{}
	if name == "" {
		return nil
	}
	k, err := keypair(tx, v.UserID, name)
	if errors.Is(err, db.ErrNotFound) {
		return fault.BadRequest("Invalid key_name provided.")
	}
	v.KeyName, v.KeyData.V = k.Name, keyData{k.Name, k.Type, k.PublicKey}
	return err
}

func (s *Service) rebuildAnswer(tx *db.Tx, r *api.Request, v *Server, password string) (api.JSON, error) {
	view := viewOf(r, v.target())
	view.groups, view.userData = true, false
	if !r.Since("2.75") {
		view.short, view.extended, view.hostStatus = true, false, ""
		view.keyName = r.Since("2.54")
	}
	doc, err := s.document(tx, v, view)
	if err != nil {
		return nil, err
	}
	d := docWriter{b: doc[:len(doc)-1]}
	d.str("adminPass", password)
	if r.Since("2.57") {
		d.strOrNull("user_data", v.UserData)
	}
	d.shut()
	r.Header().Set("Location", view.base+"/v2.1/servers/"+v.ID)
	return wrap("server", d.b), nil
}
