# Installs the headers, the find_package(conc) files and conc.pc. Nothing in them depends on the architecture, so the
# latter two go below share/.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(TARGETS conc EXPORT conc-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT conc-targets NAMESPACE conc:: DESTINATION "${CMAKE_INSTALL_DATADIR}/cmake/conc")

configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/conc-config.cmake.in" "${PROJECT_BINARY_DIR}/conc-config.cmake"
  INSTALL_DESTINATION "${CMAKE_INSTALL_DATADIR}/cmake/conc")
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/conc-config-version.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/conc-config.cmake" "${PROJECT_BINARY_DIR}/conc-config-version.cmake"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/cmake/conc")

configure_file("${CMAKE_CURRENT_LIST_DIR}/conc.pc.in" "${PROJECT_BINARY_DIR}/conc.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/conc.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
