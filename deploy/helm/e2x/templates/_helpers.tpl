{{- define "e2x.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "e2x.selector" -}}
app.kubernetes.io/name: e2x
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "e2x.labels" -}}
{{ include "e2x.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* Whether a part has the project's folder: those named, or all where no bucket keeps files. */ -}}
{{- define "e2x.sharesProject" -}}
{{- if or (not (dig "storage" "url" "" .root.Values.settings)) (has .part .root.Values.project.sharedBy) }}yes{{ end }}
{{- end }}

{{- define "e2x.claim" -}}
{{- .Values.project.existingClaim | default (include "e2x.name" (dict "root" . "part" "project")) -}}
{{- end }}

{{- define "e2x.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* A pod: root, part, image, arguments, resources, and what a part has beside: gpus, probes, ports, env. */ -}}
{{- define "e2x.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "e2x.labels" . | nindent 4 }}
  annotations:
    e2x/settings: {{ toToml $values.settings | sha256sum }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .place.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .place.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .place.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .part }}
      image: {{ required (printf "image.%s is empty: name an image, by digest" .image) (index $values.image .image) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- toYaml .arguments | nindent 8 }}
      envFrom:
        - secretRef:
            name: {{ $values.existingSecret }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- with .place.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      securityContext:
        {{- include "e2x.containerSecurity" . | nindent 8 }}
      resources:
        requests:
          {{- toYaml .place.resources.requests | nindent 10 }}
        limits:
          {{- toYaml .place.resources.limits | nindent 10 }}
          {{- with .gpus }}
          nvidia.com/gpu: {{ . }}
          {{- end }}
      {{- toYaml .probes | nindent 6 }}
      {{- with .ports }}
      ports:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: project, mountPath: /project}
        - {name: settings, mountPath: /project/e2x.toml, subPath: e2x.toml, readOnly: true}
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    - name: project
      {{- if include "e2x.sharesProject" . }}
      persistentVolumeClaim:
        claimName: {{ include "e2x.claim" .root }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $values.scratch.project }}
      {{- end }}
    - name: settings
      configMap:
        name: {{ include "e2x.name" (dict "root" .root "part" "settings") }}
    - name: cache
      emptyDir:
        sizeLimit: {{ $values.scratch.cache }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $values.scratch.tmp }}
    # Batches go between the processes of a training here; it counts as memory of the pod.
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: 1Gi
{{- end }}

{{- /* A file that is touched at each sign of life: no probe starts a Python. Ten minutes, as a
worker gives none while it waits for a broker that is away. */ -}}
{{- define "e2x.fileProbes" -}}
startupProbe:
  exec:
    command: [test, -e, /tmp/alive]
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  exec:
    command: [sh, -c, 'test $(( $(date +%s) - $(stat -c %Y /tmp/alive) )) -lt 600']
  periodSeconds: 30
  timeoutSeconds: 5
{{- end }}
