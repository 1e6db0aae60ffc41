"use strict";
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  // The token stays in this page, and goes nowhere but to this server.
  persistAuthorization: false,
  validatorUrl: null,
  queryConfigEnabled: false,
});
