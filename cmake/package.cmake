# The Debian package:  cmake --preset package && cpack --config build/package/CPackConfig.cmake
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CPACK_PACKAGE_NAME libconc-dev)
set(CPACK_PACKAGE_CONTACT "The conc authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "g++ | clang, cmake | pkgconf")

# Where Debian wants it, and nobody else.
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION share/doc/libconc-dev RENAME copyright COMPONENT debian
  EXCLUDE_FROM_ALL)
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};conc;Unspecified;/" "${PROJECT_BINARY_DIR};conc;debian;/")
include(CPack)
