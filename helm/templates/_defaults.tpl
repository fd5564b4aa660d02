{{/* Written by `make docs` from values.yaml: what a value set to null falls back to. */}}
{{- define "partner-bridge.defaults" -}}
config: {}
files: {}
pauses:
  enabled: false
  rules: []
page:
  enabled: true
image:
  registry: ''
  repository: partner-bridge
  tag: ''
  digest: ''
  pullPolicy: IfNotPresent
  pullSecrets: []
secrets:
  kafka:
    existingSecret: ''
    settings: {}
    files: {}
  schemaRegistry:
    existingSecret: ''
    settings: {}
    files: {}
  eventbridge:
    existingSecret: ''
    settings: {}
    files: {}
  http:
    existingSecret: ''
    settings: {}
  restartToken: ''
auth:
  irsa:
    roleArn: ''
  podIdentity:
    enabled: false
serviceAccount:
  create: true
  name: ''
  annotations: {}
terminationGracePeriodSeconds: 35
minReadySeconds: 10
revisionHistoryLimit: 3
probes: {}
podDisruptionBudget:
  enabled: true
nodeSelector: {}
tolerations: []
affinity: {}
priorityClassName: ''
schedulerName: ''
runtimeClassName: ''
dnsPolicy: ''
dnsConfig: {}
hostAliases: []
automountServiceAccountToken: false
lifecycle: {}
emptyDir: {}
service:
  enabled: true
  annotations: {}
networkPolicy:
  enabled: false
  monitoringNamespace: ''
  kafka:
    ports: []
    to: []
  schemaRegistry:
    to: []
  aws:
    to: []
    instanceMetadata: false
  dns: {}
  extraIngress: []
  extraEgress: []
keda:
  enabled: false
  topics: []
  minReplicaCount: 1
  lagThreshold: 10000
  activationLagThreshold: 0
  excludePersistentLag: true
  pollingInterval: 30
  cooldownPeriod: 300
  triggerMetadata: {}
  authenticationRef: {}
  annotations: {}
podMonitor:
  enabled: false
  labels: {}
  interval: 30s
  scrapeTimeout: 10s
  relabelings: []
  metricRelabelings: []
prometheusRule:
  enabled: false
  labels: {}
  alertLabels: {}
  runbookUrl: ''
  disabled: []
  thresholds:
    restarts: 3
    stuckSeconds: 300
    evictions: 3
    throttledShare: 0.2
    growingLag: 10000
    backlog: 100000
    catchUpSeconds: 14400
    expiresSeconds: 172800
    openLettersFor: 4h
    pausedFor: 1d
    deliverySeconds: 60
    lateShare: 0.01
    fewestEvents: 100
  extraRules: []
dashboard:
  enabled: false
  annotations: {}
replay:
  enabled: false
  arguments: []
  execute: false
  run: ''
  backoffLimit: 2
  labels: {}
  annotations: {}
  podLabels: {}
  podAnnotations: {}
report:
  enabled: false
  schedule: 0 6 * * *
  timeZone: ''
  arguments: []
  labels: {}
  annotations: {}
  podLabels: {}
  podAnnotations: {}
tests:
  enabled: true
  podLabels: {}
  podAnnotations: {}
extraEnv: []
envFrom: []
extraVolumes: []
extraVolumeMounts: []
initContainers: []
extraContainers: []
podLabels: {}
podAnnotations: {}
deploymentAnnotations: {}
extraObjects: []
commonLabels: {}
commonAnnotations: {}
nameOverride: ''
fullnameOverride: ''
namespaceOverride: ''
global: {}
{{- end -}}
